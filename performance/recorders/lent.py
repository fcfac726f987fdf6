"""What is taken by hand out of the pools to Valkey, and out of a worker's pools of asyncpg.

Their commands and queries always give back and are not told of (`cachelayer.pools.lending`). What
a cluster's client for coroutines takes of a node is not known: its nodes have no pools of ours.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

from cachelayer.pools import lending as valkey
from jobs.engine import pools as engine
from performance.recorders.checkouts import Checkout, stack
from performance.recorders.leaks import NAME, checkouts
from performance.recorders.pools import POSTGRESQL, VALKEY, waits
from performance.recording.process import governor
from performance.recording.rescue import is_unobserved, rescued

if TYPE_CHECKING:
    from collections.abc import Callable

# Kept until they are done: a loop does not.
_giving_back: set[asyncio.Task[None]] = set()


@dataclass(slots=True, eq=False)
class ValkeyCheckout(Checkout):
    """Of a pool to Valkey for threads and greenlets."""

    # The pool has a list of all its connections.
    KNOWN: ClassVar[int] = 1
    SERVER: ClassVar[str] = VALKEY

    def put_back(self) -> None:
        """Give it back, closed: nobody knows what it was told, or has yet to answer."""
        self.connection.disconnect()
        self.pool.release(self.connection)


def _this_task() -> Callable[[], asyncio.Task[Any] | None]:
    task = asyncio.current_task()
    return ref(task) if task else lambda: None


def _its_name() -> str:
    task: Any = asyncio.current_task()
    return f"{task.get_name()} ({task.get_coro().__qualname__})" if task else "(no task)"


@dataclass(slots=True, eq=False)
class TaskCheckout(Checkout):
    """Of a pool for coroutines, by a task of its loop."""

    SLOW: ClassVar[str] = "held by a slow task"

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    task: Callable[[], asyncio.Task[Any] | None] = field(default_factory=_this_task)
    task_name: str = field(default_factory=_its_name)

    @property
    def taker(self) -> str:
        """The name of the task, and what it runs."""
        return self.task_name

    @property
    def is_running(self) -> bool:
        """Whether the task that took it is still at work."""
        task = self.task()
        return task is not None and not task.done()

    @property
    def is_gone(self) -> bool:
        """Whether there is no loop to give it back in."""
        return self.loop.is_closed()


@dataclass(slots=True, eq=False)
class AsyncValkeyCheckout(TaskCheckout):
    """Of a pool to Valkey for coroutines."""

    # The pool has a set of what it has lent.
    KNOWN: ClassVar[int] = 1
    SERVER: ClassVar[str] = VALKEY

    def put_back(self) -> None:
        """Have the loop give it back, closed."""
        self.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        task = self.loop.create_task(self._give_back())
        _giving_back.add(task)
        task.add_done_callback(_giving_back.discard)

    async def _give_back(self) -> None:
        with rescued(NAME):
            await self.connection.disconnect(nowait=True)
            await self.pool.release(self.connection)


@dataclass(slots=True, eq=False)
class AsyncpgCheckout(TaskCheckout):
    """Of a pool of asyncpg. It is told of, and never given back by force.

    What is lent is a proxy. When nobody has that, nobody can give the connection back; but a
    statement or a cursor that was made by it may still be at work.
    """

    # The pool's place for it, and the connection that it stands for.
    KNOWN: ClassVar[int] = 2
    SERVER: ClassVar[str] = POSTGRESQL

    @property
    def is_gone(self) -> bool:
        """Whether its connection was closed, with the pool or by its end."""
        return self.loop.is_closed() or not self.pool.lends(self.connection)

    def is_abandoned(self) -> bool:
        """Never for certain."""
        return False


Kind = type[ValkeyCheckout | AsyncValkeyCheckout | AsyncpgCheckout]


def connect() -> None:
    """Be told of what the pools of this process lend from now on."""
    valkey.threads.watch(partial(took, ValkeyCheckout), checkouts.give_back)
    valkey.coroutines.watch(partial(took, AsyncValkeyCheckout), checkouts.give_back)
    engine.lending.watch(partial(took, AsyncpgCheckout), checkouts.give_back)


def took(kind: Kind, pool: Any, connection: Any) -> None:
    """Somebody has taken it, and may forget to give it back."""
    if is_unobserved():
        return
    with rescued(NAME):
        began = perf_counter()
        key = waits.key(f"{kind.SERVER} {pool.name}")
        checkouts.add(kind(connection, pool, key, stack(sys._getframe(2))))
        governor.spent += perf_counter() - began
