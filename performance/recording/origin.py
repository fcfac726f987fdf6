"""Which line of the project asked for something: found by walking outwards from whoever saw it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from performance.recording.places import place

if TYPE_CHECKING:
    from types import FrameType

    from performance.recording.places import Place

# Each middleware, and the view, is called from here: whoever is further out did not ask.
BORDER = "django/core/handlers/exception.py"
DEEPEST = 200


def asker(frame: FrameType | None) -> Place | None:
    """The innermost line of the project from this frame outwards.

    None when there is none on this side of the middleware: Django or a library asked by itself.
    """
    for _ in range(DEEPEST):
        if frame is None or frame.f_code.co_filename.endswith(BORDER):
            return None
        if is_ours(frame.f_code.co_filename):
            return place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
        frame = frame.f_back
    return None


@cache
def is_ours(filename: str) -> bool:
    """Whether a file is the project's."""
    return place(filename, 0).is_ours


def document(found: Place | None) -> dict[str, object]:
    """A place as plain data, empty when there is none."""
    return {
        "file": found.file if found else "",
        "line": found.line if found else 0,
        "function": found.function if found else "",
    }


def text(found: Place | None, otherwise: str) -> str:
    """A place as `file:line`."""
    return f"{found.file}:{found.line}" if found else otherwise
