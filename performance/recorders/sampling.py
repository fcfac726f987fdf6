"""How much is looked at in detail, when somebody has set that for the fleet and for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cachelayer.conf import cache_settings
from cachelayer.remote import Unavailable

if TYPE_CHECKING:
    from cachelayer.remote import Remote
    from performance.recording.governor import Governor


class Override(NamedTuple):
    """The share of requests that is looked at, and for how many more seconds."""

    rate: float
    left: float


def _key() -> str:
    return f"{cache_settings().prefix}:performance:sampling"


def override(remote: Remote, rate: float, seconds: int) -> None:
    """Have every process look at that share. Raises Unavailable."""
    remote.call(("SET", _key(), repr(rate), "EX", seconds))


def end_override(remote: Remote) -> None:
    """Let each process's governor decide again. Raises Unavailable."""
    remote.call(("DEL", _key()))


def present_override(remote: Remote) -> Override | None:
    """What is set. Raises Unavailable."""
    rate, left = remote.call(("GET", _key()), ("PTTL", _key()))
    return Override(float(rate), left / 1000) if isinstance(rate, bytes) else None


class SamplingSampler:
    """Tells this process's governor; without Valkey there is no override."""

    name = "sampling"
    every = 2.0

    def __init__(self, remote: Remote, governor: Governor) -> None:
        """`remote` is where overrides are kept."""
        self._remote = remote
        self._governor = governor

    def sample(self) -> None:
        """Take over what is set now."""
        try:
            found = present_override(self._remote)
        except Unavailable:
            found = None
        self._governor.fixed = found.rate if found else None
