"""The numbers of web processes that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

if TYPE_CHECKING:
    from pathlib import Path

# In place of a process id, in the names of files: all that have ended.
ENDED = "ended"


def bury(directory: Path, pid: int) -> None:
    """Forget the state of a process that has ended, and keep what it has counted.

    That is added to one file for all that have ended: counters do not fall, and however many
    processes there have been, few files are read.
    """
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
    for kind in ("counter", "histogram"):
        theirs = directory / f"{kind}_{pid}.db"
        if theirs.exists():
            add_up(theirs, directory / f"{kind}_{ENDED}.db")
            theirs.unlink()


def add_up(source: Path, target: Path) -> None:
    """Add every number of a file to those of another, which may not exist yet."""
    file: Any = MmapedDict
    numbers = file(str(target))
    try:
        for key, value, _, _ in file.read_all_values_from_file(str(source)):
            known, _ = numbers.read_value(key)
            numbers.write_value(key, known + value, 0.0)
    finally:
        numbers.close()
