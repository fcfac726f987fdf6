"""What can go wrong with an embedded engine, told so that a reader knows what to do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class EngineError(Exception):
    """An embedded PostgreSQL or Valkey cannot be used; the message says why and what to do."""


LINES_SHOWN = 5


def explain(what: str, lines: Sequence[str], directory: Path) -> EngineError:
    """The error for an engine that wrote `lines` and gave up."""
    text = "\n".join(lines)
    if "No space left on device" in text or "free disk space" in text:
        advice = f"The disk is full: see `df -h {directory}`, free some space and try again."
    elif "ermission denied" in text or "Operation not permitted" in text:
        advice = permission_advice(directory)
    elif "Cannot allocate memory" in text or "could not map anonymous shared memory" in text:
        advice = "The machine has too little free memory for it."
    else:
        advice = f"Its data is in {directory}; set its URL to use a server of your own instead."
    shown = (f"  {line}" for line in lines[-LINES_SHOWN:])
    return EngineError("\n".join([what, *shown, advice]))


def permission_advice(directory: Path) -> str:
    """What to do about a directory that belongs to somebody else."""
    return (
        f"This user may not use {directory}, or a directory on the way to it: run as the user who "
        "created it, or choose another with --data-dir."
    )


@contextmanager
def file_errors_explained(directory: Path) -> Iterator[None]:
    """Raise EngineError where the system refuses a file below `directory`."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or directory} cannot be used:"
        raise explain(what, [error.strerror or str(error)], directory) from None
