"""What the boot checks of this process have found."""

from __future__ import annotations

from time import monotonic

from performance.analysis import checks
from performance.recording.process import buffer

NAME = "checks"
# What is wrong may be put right meanwhile, as in PostgreSQL's configuration.
AGAIN_AFTER = 300.0


class ChecksSampler:
    """Looks at the start and every few minutes, and tells the same meanwhile."""

    name = NAME
    every = 10.0

    def __init__(self, role: str) -> None:
        """Which checks there are depends on the role."""
        self._role = role
        self._found: dict[str, str] = {}
        self._look_at = 0.0

    def sample(self) -> None:
        """Publish what was found."""
        if monotonic() >= self._look_at:
            self._look_at = monotonic() + AGAIN_AFTER
            self._found = checks.run(self._role)
        buffer.publish(NAME, {"role": self._role, "found": self._found})
