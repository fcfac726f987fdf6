"""What a request (or a command) has waited for so far, for whoever adds to it on the way."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.http import HttpRequest


@dataclass(slots=True)
class Watch:
    """Milliseconds by what they were spent on; it stands for `weight` of its like.

    `cpu` and `lag` are whole when the request ends: while it runs, less than nothing.
    What the client has `asked` to wait, or takes to read what is streamed, is none of them.
    With a weight of 0 the request is counted, but nobody looks at what it does.
    Whoever watches one thing in detail keeps its notes in `notes`, by its own name.
    """

    weight: float = 1.0
    request: HttpRequest | None = None
    started: float = field(default_factory=perf_counter)
    asked: float = 0.0
    pool: float = 0.0
    database: float = 0.0
    cache: float = 0.0
    render: float = 0.0
    cpu: float = 0.0
    lag: float = 0.0
    queries: int = 0
    notes: dict[str, object] = field(default_factory=dict)

    @property
    def elapsed(self) -> float:
        """Milliseconds since it began, less what was asked for."""
        return (perf_counter() - self.started) * 1000 - self.asked


current: ContextVar[Watch | None] = ContextVar("watch", default=None)
