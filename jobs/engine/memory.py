"""Memory management for a process that parses one document after the other."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache

# mallopt(3)
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT = 64 * 1024 * 1024
LARGEST_FROM_HEAP = 32 * 1024 * 1024
# Objects made between two young collections. A listing's records alone are a few hundred.
YOUNG_OBJECTS = 10_000


def tune_memory() -> None:
    """Keep what is about to be needed again, and do not look for garbage where there is none."""
    keep_freed_memory()
    collect_less()


def collect_less() -> None:
    """Let no collection look again at what is there now, and have them come less often.

    `manage.py benchmark collections` prints what that does for a process that answers requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    frozen.cache_clear()
    frozen()


@cache
def frozen() -> int:
    """How many objects no collection looks at: counted once, for that takes milliseconds."""
    return gc.get_freeze_count()


def keep_freed_memory() -> None:
    """Do not return every parsed document's memory to the kernel, only to fault it in again.

    By default glibc trims the heap whenever 128 kB at its top are free, which after a parsed page
    is always. Does nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, LARGEST_FROM_HEAP)
