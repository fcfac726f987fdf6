"""The directory where web processes leave their numbers for the one that answers for all of them.

Each server has its own, in memory where that is possible. It is locked for as long as any process
of that server lives; one that nobody holds was left behind, and is removed.

prometheus_client must not be imported here: as it is imported, it decides whether it writes files.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  each server's directory in it is private
PREFIX = "scraper-metrics-"
LOCK = "in-use"
# Less room in memory and it is on disk: a process that finds none as it writes is killed.
ROOM = 32 * 1024 * 1024
# What prometheus_client knows it by.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def place() -> Path:
    """In memory, or where temporary files are."""
    has_room = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    return MEMORY if has_room else Path(tempfile.gettempdir())


def make_directory(parent: Path) -> Path:
    """A new, empty and private directory, held until this process and its children have ended.

    Raises OSError.
    """
    remove_abandoned(parent)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    unlocked = directory / f"{LOCK}.new"
    lock = os.open(unlocked, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Under its name it is never seen unlocked, unless its owners are gone.
    unlocked.rename(directory / LOCK)
    return directory


def remove_abandoned(parent: Path) -> None:
    """Remove what servers that were killed have left behind."""
    for directory in parent.glob(f"{PREFIX}*"):
        # Another user's, or removed by somebody else just now.
        with suppress(OSError):
            if not is_in_use(directory / LOCK):
                shutil.rmtree(directory)


def is_in_use(lock: Path) -> bool:
    """Whether somebody holds it. Raises OSError when it is not there or not ours."""
    descriptor = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
