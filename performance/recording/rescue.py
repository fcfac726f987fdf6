"""Watching never breaks what it watches: what goes wrong in a recorder is counted and forgotten."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

failures: Counter[str] = Counter()
# What the console does itself is not looked at: it would watch itself watching.
_unobserved: ContextVar[bool] = ContextVar("unobserved", default=False)


class rescued:  # noqa: N801  reads as the function it stands for, at a third of its cost
    """Count what is raised inside under that name; the first of each is logged."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        """`name` is the recorder's."""
        self._name = name

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        failed(self._name)
        return True


def failed(name: str) -> None:
    """Count what is being handled: for what each request does, where `rescued` costs too much."""
    if not failures[name]:
        logger.exception("recorder %s failed; more of it is only counted", name)
    failures[name] += 1


@contextmanager
def unobserved() -> Iterator[None]:
    """Record nothing of what is done inside."""
    token = _unobserved.set(True)
    try:
        yield
    finally:
        _unobserved.reset(token)


is_unobserved = _unobserved.get
