"""Tells whoever wants to know which connections are taken that their taker may forget to give back.

Commands and pipelines of redis-py, and queries of a pool of asyncpg, give back what they take
whatever happens to them: of these nobody is told, so they cost a look at who takes. Nor is anybody
told of what is kept on purpose (`kept`).
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Why what is taken now will be kept; empty: it will not.
_kept: ContextVar[str] = ContextVar("kept", default="")


class Lending:
    """What pools of one kind lend; nobody is told of it until `watch`.

    Pools tell of what they lend by `took(pool, connection)`, in whoever takes it; of what comes
    back by `gave_back(connection)`, before the next can have it. `told` has the ids of what is out,
    as far as it was told of: while that is nothing, nobody need be told of what comes back.
    """

    def __init__(self) -> None:
        self.is_watched = False
        self.told: set[int] = set()
        self._took: Callable[[Any, Any], None] = nobody
        self._gave_back: Callable[[Any], object] = nobody

    def watch(self, took: Callable[[Any, Any], None], gave_back: Callable[[Any], object]) -> None:
        """Have these told from now on. They must not wait, and must not raise."""
        self._took, self._gave_back = took, gave_back
        self.is_watched = True

    def took(self, pool: Any, connection: Any) -> None:
        """Somebody has taken it who may forget to give it back."""
        if not _kept.get():
            self.told.add(id(connection))
            self._took(pool, connection)

    def gave_back(self, connection: Any) -> None:
        """It comes back."""
        self.told.discard(id(connection))
        self._gave_back(connection)


def nobody(*_: Any) -> None:
    """Is told."""


@contextmanager
def kept(reason: str) -> Iterator[None]:
    """What is taken inside is kept for as long as its taker lives, for that reason: no leak."""
    token = _kept.set(reason)
    try:
        yield
    finally:
        _kept.reset(token)


# Pools for threads and greenlets, and for coroutines.
threads, coroutines = Lending(), Lending()
