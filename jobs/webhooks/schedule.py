"""When a delivery that failed is tried again: the schedule that Standard Webhooks recommends."""

from __future__ import annotations

import random

MINUTE = 60.0
HOUR = 3600.0
# Seconds after the first try, the second and so on: 75 hours and 35 minutes in all.
DELAYS = (
    *(5.0, 5 * MINUTE, 30 * MINUTE),
    *(2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR),
)
# Receivers that went down together do not get everything back in one second.
JITTER = 0.1


def next_delay(tries: int, retry_after: float | None = None) -> float | None:
    """Seconds until the next try after so many, or None after the last one.

    A receiver may ask for more patience by `retry_after`, also in seconds.
    """
    if tries > len(DELAYS):
        return None
    jittered = DELAYS[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(jittered, retry_after or 0.0)
