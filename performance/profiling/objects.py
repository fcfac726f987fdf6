"""Which lines made the objects that are held: tracemalloc, for a while.

Every allocation of Python is remembered with its stack as long as it lives: a process is several
times slower meanwhile. What was there before is not seen; what is still held at the end is. Objects
are counted by type before and after.
"""

from __future__ import annotations

import tracemalloc
from _tracemalloc import _get_traces
from time import monotonic, sleep
from typing import Any

from performance.profiling.asking import Refused
from performance.profiling.frames import file_of
from performance.profiling.stacks import Seen, folded
from performance.recorders.growth import grouped
from performance.recorders.memory import object_counts
from performance.recording.process import governor

# Frames of each stack that are kept, the innermost: the more, the dearer.
FRAMES = 16
# Bytes that tracemalloc's tables may take; then it ends before its time. To be read they are copied
# at once, which takes several times as much, and the process stands still meanwhile.
MOST_TRACES = 32 * 1024 * 1024
LOOK_EVERY = 0.5
MOST_TYPES = 30
# The capture's own.
OURS = (__file__, tracemalloc.__file__)


def look(seconds: int) -> Seen:
    """Bytes by stack that were allocated in this time and are held at its end. Raises Refused.

    The document has `types`: those of which there are more objects now, and how many more.
    """
    if tracemalloc.is_tracing():
        raise Refused("Its memory is being traced already, as it grows: try again in a minute.")
    with governor.measured():
        before = object_counts()
    ends = monotonic() + seconds
    tracemalloc.start(FRAMES)
    try:
        while (left := ends - monotonic()) > 0:
            sleep(min(left, LOOK_EVERY))
            if tracemalloc.get_tracemalloc_memory() > MOST_TRACES:
                break
        with governor.measured():
            # The traces are many objects themselves.
            more = object_counts() - before
        traces: Any = _get_traces()
    finally:
        tracemalloc.stop()
    stacks = folded(
        ([f"{file_of(file)}:{line}" for file, line in reversed(stack)], held.size)
        for stack, held in grouped(traces).items()
        if not any(file in OURS for file, _ in stack)
    )
    return Seen(stacks, {"types": more.most_common(MOST_TYPES)})
