"""Who had the most memory at once, by memray: allocations as the process makes them, for a while.

Each allocation is counted as it happens, so a process with much to do is slower meanwhile. Small
objects come out of arenas that Python itself allocates: the stacks say who made it need another.
What was allocated before is not seen.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from performance.profiling.asking import Refused
from performance.profiling.stacks import Seen, Stacks, parse
from performance.recording.cpu import has_hub

if TYPE_CHECKING:
    import memray

# Seconds for reading what was written.
OVERHEAD = 60
# memray 1.20 loses count of the frames of greenlets, and the process dies of a segmentation fault.
DEADLY = (
    "memray crashes processes that run on gevent, as web processes do. Ask for their memory by "
    "line (tracemalloc), or look into a worker."
)


def look(seconds: int) -> Seen:
    """Bytes by stack, at the moment of this time when most were held. Raises Refused."""
    if has_hub():
        raise Refused(DEADLY)
    with tempfile.TemporaryDirectory(prefix="capture-") as directory:
        output = Path(directory) / "allocations"
        with tracker(output):
            sleep(seconds)
        return Seen(read(output), {})


def tracker(output: Path) -> memray.Tracker:
    """What tracks this process; stacks are added up in memory, so that the file stays small.

    Raises Refused.
    """
    # Not before somebody asks: it is a tenth of the time that every process takes to start.
    import memray

    try:
        return memray.Tracker(
            destination=memray.FileDestination(output),
            file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS,
        )
    except RuntimeError as error:
        raise Refused(f"memray cannot track this process now: {error}") from None


def read(output: Path) -> Stacks:
    """The stacks in a file, read by a process of its own, for that takes long. Raises Refused."""
    command = [sys.executable, "-m", "performance.profiling.allocation_stacks", str(output)]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=OVERHEAD,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"memray's file could not be read within {OVERHEAD} s.") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise Refused(f"memray's file could not be read: {last[:300]}")
    return parse(done.stdout)
