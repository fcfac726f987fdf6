"""Whether the known traps of the parts we use are closed here: asked by every process at its start.

A check is a function that returns what is wrong, or nothing. Its docstring says what would happen.
"""

from __future__ import annotations

from performance.analysis.checks import connections, processes, servers, settings, silk
from performance.analysis.checks.check import CHECKS, Check
from performance.recording.rescue import rescued

__all__ = [
    "CHECKS",
    "UNKNOWN",
    "Check",
    "connections",
    "processes",
    "run",
    "servers",
    "settings",
    "silk",
]


# Said of a check that has failed itself.
UNKNOWN = "could not be checked"


def run(role: str) -> dict[str, str]:
    """Name of each check that is for this role, to what is wrong; empty when all is well."""
    found = {}
    for check in CHECKS:
        if role in check.roles:
            found[check.name] = UNKNOWN
            with rescued(f"check {check.name}"):
                found[check.name] = check.look()
    return found
