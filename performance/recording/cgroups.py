"""What this process may have of its machine: the cores and the memory that its cgroups leave it.

Version 2 of cgroups has one tree and files as `cpu.max`, version 1 a tree for each controller.
"""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESS = Path("/proc/self")
CGROUPS = Path("/sys/fs/cgroup")
# Larger is what version 1 says for no limit of memory.
NO_LIMIT = 1 << 60


class Allowance(NamedTuple):
    """Bytes that a cgroup may have at most, and those of it that are in use, by all that is in it.

    Cached files do not count: the kernel takes their memory back before it kills anybody. `cgroup`
    is its path as the process sees it: "." is the outermost, in a container usually its own.
    """

    limit: int
    used: int
    cgroup: str


def cores(process: Path = PROCESS, cgroups: Path = CGROUPS) -> int:
    """Of those that it may run on as many as its quota is worth."""
    number, quota = len(os.sched_getaffinity(0)), cpu_quota(process, cgroups)
    return number if quota is None else min(number, max(ceil(quota), 1))


def cpu_quota(process: Path = PROCESS, cgroups: Path = CGROUPS) -> float | None:
    """Cores that all processes of the cgroup may use together: the least of it and of its parents.

    None without a limit, as where there are no cgroups.
    """
    found = []
    for directory, version in around("cpu", process, cgroups):
        names = ["cpu.max"] if version == 2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        told = " ".join(text_of(directory / name) for name in names).split()
        found.append(share_of(told))
    return min((one for one in found if one is not None), default=None)


def share_of(told: list[str]) -> float | None:
    """A quota by its period; None for "max" (version 2), -1 (version 1), and where nothing is."""
    if len(told) != 2 or not all(one.isdecimal() for one in told):
        return None
    quota, period = map(int, told)
    return quota / period if period else None


def allowance(process: Path = PROCESS, cgroups: Path = CGROUPS) -> Allowance | None:
    """The memory of the cgroup or its parent that is the fullest; None when none has a limit."""
    found = []
    for directory, version in around("memory", process, cgroups):
        if version == 2:
            names = ("memory.max", "memory.current", "inactive_file")
        else:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        base = cgroups if version == 2 else cgroups / "memory"
        found.append(_allowance(directory, str(directory.relative_to(base)), *names))
    limited = [one for one in found if one is not None]
    return max(limited, key=lambda one: (one.used / one.limit, -one.limit), default=None)


def _allowance(
    directory: Path, cgroup: str, limit: str, usage: str, cached: str
) -> Allowance | None:
    most, used = (text_of(directory / name).strip() for name in (limit, usage))
    if not most.isdecimal() or not 0 < int(most) < NO_LIMIT:
        return None
    lines = dict(line.split() for line in text_of(directory / "memory.stat").splitlines())
    return Allowance(int(most), max(int(used or 0) - int(lines.get(cached, 0)), 0), cgroup)


def around(controller: str, process: Path, cgroups: Path) -> Iterator[tuple[Path, int]]:
    """The directories of the process's cgroup and of its parents, and the version of each."""
    for line in text_of(process / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = cgroups / controller if controllers else cgroups
        inner = base / path.lstrip("/")
        for directory in (inner, *inner.parents):
            if directory.is_relative_to(base):
                yield directory, 1 if controllers else 2


def text_of(path: Path) -> str:
    """What a file of the kernel's says; nothing where it does not exist."""
    try:
        return path.read_text()
    except OSError:
        return ""
