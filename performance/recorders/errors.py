"""What goes wrong: exceptions of requests, and whatever is logged as an error, by kind and place.

Kept as evidence is where it came from: neither local variables nor bodies, and of a message only
its first line, for the others are where PostgreSQL puts the data that it refused.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from time import monotonic, time
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from django.core.signals import got_request_exception

from performance.recorders.requests import view_of
from performance.recording.places import origin, place, places
from performance.recording.process import buffer, governor
from performance.recording.rescue import is_unobserved, rescued

if TYPE_CHECKING:
    from types import FrameType

    from django.http import HttpRequest

    from performance.recording.places import Place

NAME = "error"
# What we log about ourselves, and what `got_request_exception` has told already.
OURS = "performance"
REQUESTS = "django.request"
# Says what went wrong with an answer that was on its way, and keeps that from the root.
SERVER = "gunicorn.error"
LONGEST_MESSAGE = 500
MOST_FRAMES = 40
# Of one group, in seconds: a fault that happens a thousand times a second looks alike each time.
EVIDENCE_EVERY = 300.0
MOST_GROUPS = 500

_is_busy: ContextVar[bool] = ContextVar("recording an error", default=False)
_kept_at: dict[str, float] = {}


def connect() -> None:
    """Hear of every error from now on."""
    got_request_exception.connect(request_failed, dispatch_uid="performance.errors")
    for logger in (logging.root, logging.getLogger(SERVER)):
        if not any(isinstance(one, ErrorHandler) for one in logger.handlers):
            logger.addHandler(ErrorHandler())


def request_failed(request: HttpRequest | None = None, **_: object) -> None:
    """Receives Django's `got_request_exception`, while the exception is being handled."""
    with rescued(NAME), governor.measured():
        error = sys.exception()
        if error is not None and not is_unobserved():
            _record(error, {"view": view_of(request) if request is not None else ""})


class ErrorHandler(logging.Handler):
    """Hears of what any logger says at ERROR or above."""

    def __init__(self) -> None:
        """Nothing below ERROR."""
        super().__init__(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """Record it, unless it comes of recording an error."""
        if _is_busy.get() or is_unobserved() or record.name.partition(".")[0] == OURS:
            return
        # Where the server tells the root after all, both hear of it.
        if record.__dict__.setdefault("recorded_by", self) is not self:
            return
        token = _is_busy.set(True)
        try:
            with rescued(NAME), governor.measured():
                self._record(record)
        finally:
            _is_busy.reset(token)

    def _record(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        about = {"logger": record.name, "level": record.levelname}
        if error is None:
            where = place(record.pathname, record.lineno, record.funcName)
            message = _first_line(record.getMessage())
            _keep(f"log {where.key}", about | {"message": message, "stack": [str(where)]})
        elif record.name != REQUESTS:
            _record(error, about | {"logged": _first_line(record.getMessage())})


def stack_of(error: BaseException) -> list[Place]:
    """Where it came from, the innermost place first."""
    return places((frame.f_code, line) for frame, line in _innermost(error))


def _record(error: BaseException, about: dict[str, Any]) -> None:
    stack = stack_of(error)
    guilty = origin(stack)
    kind = type(error).__name__
    _keep(
        f"{kind} {guilty.key if guilty else '(nowhere)'}",
        about | {"message": _first_line(str(error)), "stack": [str(one) for one in stack]},
    )


def _innermost(error: BaseException) -> list[tuple[FrameType, int]]:
    """An endless recursion has a thousand frames that say the same."""
    return list(walk_tb(error.__traceback__))[: -MOST_FRAMES - 1 : -1]


def _keep(key: str, document: dict[str, Any]) -> None:
    buffer.count(NAME, key)
    if _is_due(key):
        if len(_kept_at) >= MOST_GROUPS:
            _kept_at.clear()
        _kept_at[key] = monotonic()
        # The latest is what is wanted, which is the largest by when it was.
        buffer.sample(NAME, key, time(), document)


def _is_due(key: str) -> bool:
    return monotonic() - _kept_at.get(key, float("-inf")) >= EVIDENCE_EVERY


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:LONGEST_MESSAGE]
