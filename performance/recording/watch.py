"""A request (or a command) at work: what it has waited for so far, and what it holds."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from django.urls import Resolver404, resolve

if TYPE_CHECKING:
    from weakref import ref

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.urls import ResolverMatch

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Life:
    """Something that dies with the thread or greenlet it belongs to."""


class Lives(threading.local):
    """Where each has its own."""

    def __init__(self) -> None:
        self.life = Life()


lives = Lives()


@dataclass(slots=True, eq=False)
class Watch:
    """Milliseconds by what they were spent on; it stands for `weight` of its like.

    `cpu` and `lag` are whole when the request ends: while it runs, less than nothing.
    What the client has `asked` to wait, or takes to read what is streamed, is none of them.
    With a weight of 0 the request is counted, but nobody looks at what it does.
    Whoever watches one thing in detail keeps its notes in `notes`, by its own name.
    A request has a `method`, a `path` (without its query, which may hold what is private) and the
    `life` of the thread or greenlet that it runs in; it `is_over` when its answer is sent. What is
    `held` it has out of pools, by the id of the connection; it used these `wrappers` of Django's.
    """

    weight: float = 1.0
    method: str | None = None
    path: str = ""
    life: ref[Life] | None = None
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
    is_over: bool = False
    held: dict[int, Any] = field(default_factory=dict)
    wrappers: set[BaseDatabaseWrapper] = field(default_factory=set)

    @property
    def elapsed(self) -> float:
        """Milliseconds since it began, less what was asked for."""
        return (perf_counter() - self.started) * 1000 - self.asked

    @property
    def view(self) -> str:
        """Of a request, as `view_named` has it."""
        try:
            return view_named(self.method, resolve(self.path))
        except Resolver404:
            return view_named(self.method, None)


def view_named(method: str | None, match: ResolverMatch | None) -> str:
    """Method and route, as `GET /api/v1/jobs/<uuid:job_id>`: as many as there are views."""
    method = method if method in METHODS else "OTHER"
    return f"{method} /{match.route}" if match else f"{method} (no view)"


current: ContextVar[Watch | None] = ContextVar("watch", default=None)
# The request whose answer is not sent yet: what Django does at its end is not watched, but its own.
working: ContextVar[Watch | None] = ContextVar("working", default=None)
