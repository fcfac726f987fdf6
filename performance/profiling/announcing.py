"""Word to the fleet that a capture was asked for, so that no process has to ask PostgreSQL for it.

An exhausted pool would hold up whoever asks it every two seconds, just when watching matters. It is
only a hint: without Valkey processes find captures by themselves, later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachelayer.conf import cache_settings
from cachelayer.layer import cache_layer
from cachelayer.remote import Unavailable

if TYPE_CHECKING:
    from performance.models import Capture

# Seconds for which word is heard: every process looks far more often.
HEARD_FOR = 600


def announce(capture: Capture) -> None:
    """Tell that there is a new capture."""
    try:
        cache_layer().remote.call(("SET", key(), capture.pk, "EX", HEARD_FOR))
    except Unavailable:
        return


def announced() -> object:
    """Something that is different after each announcement; None when there was none lately."""
    try:
        found: object = cache_layer().remote.call(("GET", key()))[0]
    except Unavailable:
        return None
    return found


def key() -> str:
    """Where the latest is."""
    return f"{cache_settings().prefix}:performance:captures"
