"""Places in code, as people look for them: the project's own files before a library's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import CodeType, FrameType

ROOT = f"{Path(__file__).parents[2]}/"
# Below it, what is not the project's, is the console itself, or runs all that a command does.
NOT_OURS = (".venv/", "performance/", "scraper_site/commands.py", "manage.py")
LIBRARIES = "/site-packages/"
# Who runs a loop is below everything that happens in it, and to blame for nothing.
RUNS_A_LOOP = "/asyncio/runners.py"
DEEPEST = 60


class Place(NamedTuple):
    """A line of code; `file` is relative to the project, or to where libraries are."""

    file: str
    line: int
    function: str
    is_ours: bool

    @property
    def key(self) -> str:
        """The same whenever lines are added above it."""
        return f"{self.file}:{self.function}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}".rstrip()


def place(filename: str, line: int, function: str = "") -> Place:
    """The place that Python calls so."""
    _, is_library, rest = filename.rpartition(LIBRARIES)
    if is_library:
        return Place(rest, line, function, is_ours=False)
    if filename.startswith(ROOT):
        rest = filename.removeprefix(ROOT)
        is_ours = not rest.startswith(NOT_OURS) or rest.startswith("performance/tests/")
        return Place(rest, line, function, is_ours)
    return Place(filename, line, function, is_ours=False)


def line_of(code: CodeType, instruction: int) -> int:
    """The line that an instruction (`f_lasti`) is of; to ask a frame for it costs more."""
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end)
    return next(lines, None) or code.co_firstlineno


def lines_of(frame: FrameType | None) -> list[tuple[CodeType, int]]:
    """Where a frame and its callers are, the innermost first: cheap, and keeps no frame alive."""
    found: list[tuple[CodeType, int]] = []
    while frame is not None and len(found) < DEEPEST:
        if frame.f_code.co_filename.endswith(RUNS_A_LOOP):
            break
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found


def places(lines: Iterable[tuple[CodeType, int]]) -> list[Place]:
    """The places of `lines_of`."""
    return [place(code.co_filename, line, code.co_qualname) for code, line in lines]


def origin(stack: Sequence[Place]) -> Place | None:
    """Whom to ask about a stack: the innermost place of the project's, else the innermost."""
    ours = (one for one in stack if one.is_ours)
    return next(ours, stack[0] if stack else None)
