"""How many places are enough, by Little's law: those in use are arrivals × the time each stays."""

from __future__ import annotations

from math import ceil

# Above this utilisation waits grow out of proportion (a queue's wait goes with 1 / (1 - use)).
WELL_USED = 0.8
# More at once than so many times the present is a leap into the dark: change, measure, go on.
MOST_GROWTH = 4


def places_for(rate: float, stay: float) -> int:
    """Places for so many arrivals a second that stay for so many seconds each."""
    return max(ceil(rate * stay / WELL_USED - 1e-9), 1)


def enough(places: float, hold: float, wait: float) -> int:
    """Places of which nobody waits; `hold` and `wait` are how long one is held and waited for.

    While somebody waits all places are in use, and places / hold of them become free in a second.
    Those who come at that rate and stay for the wait and the hold are places / hold × (hold + wait)
    at a time.
    """
    if hold <= 0:
        return int(places) * MOST_GROWTH
    wanted = ceil(places * (hold + wait) / hold - 1e-9)
    return max(int(places) + 1, min(wanted, int(places) * MOST_GROWTH))
