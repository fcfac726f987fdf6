"""What this process records with: one buffer, one governor, one observer once it is started."""

from __future__ import annotations

import os

from performance.conf import performance_settings
from performance.recording.buffer import Buffer
from performance.recording.governor import Governor

buffer = Buffer()
governor = Governor(performance_settings().most_cost)

# A child tells of itself only, and what its parent has said it says for itself.
os.register_at_fork(after_in_child=buffer.forget)


def catch_up() -> None:
    """Record what was put off, when that is much: it costs what it takes, and no more."""
    if buffer.is_behind:
        with governor.measured():
            buffer.catch_up()
