"""Level 2: commands to Valkey behind a circuit breaker, by threads and by coroutines alike.

Nothing here raises anything but `Unavailable`, and no caller has to tell the ways to lose a server
apart: the entry is missing then, and the loader carries on.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from cachelayer.breaker import CircuitBreaker
    from cachelayer.stats import Stats

logger = logging.getLogger(__name__)

# The namespace of what belongs to none in particular; "*" would be a label of its own kind.
EVERYWHERE = "all"
Command = tuple[Any, ...]
LOST = (RedisError, OSError, asyncio.TimeoutError)
MOST_OWED = 100_000


class Unavailable(Exception):
    """Level 2 cannot be used now."""


def require_all(replies: list[Any]) -> None:
    """Raise Unavailable when the server refused one of many commands: it is full or read-only."""
    refused = next((reply for reply in replies if isinstance(reply, RedisError)), None)
    if refused is not None:
        raise Unavailable(str(refused))


class Debt(NamedTuple):
    """Keys that are still to be removed, each with a mark of its own, and how."""

    keys: dict[str, object]
    commands: list[Command]


class Remote:
    """Runs commands on one server, Sentinel set or cluster."""

    def __init__(
        self,
        client: Callable[[], Any],
        async_client: Callable[[], Any],
        *,
        breaker: CircuitBreaker,
        stats: Stats,
        is_cluster: bool = False,
    ) -> None:
        """`client` and `async_client` give redis-py clients, for this process and event loop."""
        self._client = client
        self._async_client = async_client
        self.breaker = breaker
        self.is_cluster = is_cluster
        self._stats = stats
        self._owed: dict[str, object] = {}
        self._listeners: list[Callable[[float], object]] = []

    def listen(self, callback: Callable[[float], object]) -> None:
        """Have it told the seconds that each call took, in whatever waited for it.

        It must not wait, and must not raise.
        """
        self._listeners.append(callback)

    def call(self, *commands: Command) -> list[Any]:
        """Run commands in one round trip (one a node in a cluster); returns their replies.

        A reply that is an error of its own command is that exception. Raises Unavailable.
        """
        self._require()
        owed = self._debt() if self._owed else None
        sent = (*owed.commands, *commands) if owed else commands
        began = perf_counter()
        try:
            client = self._client()
            if len(sent) == 1:
                replies = [client.execute_command(*sent[0])]
            else:
                pipeline = client.pipeline(transaction=False)
                for command in sent:
                    pipeline.execute_command(*command)
                replies = pipeline.execute(raise_on_error=False)
        except LOST as error:
            raise self._lost(error) from None
        finally:
            self._tell(began)
        replies = self._answered(replies)
        return self._settled(owed, replies) if owed else replies

    async def acall(self, *commands: Command) -> list[Any]:
        """`call` for coroutines."""
        self._require()
        owed = self._debt() if self._owed else None
        sent = (*owed.commands, *commands) if owed else commands
        began = perf_counter()
        try:
            client = self._async_client()
            if len(sent) == 1:
                replies = [await client.execute_command(*sent[0])]
            else:
                pipeline = client.pipeline(transaction=False)
                for command in sent:
                    pipeline.execute_command(*command)
                replies = await pipeline.execute(raise_on_error=False)
        except (*LOST, RuntimeError) as error:
            # RuntimeError is what uvloop raises for a transport that a reset has closed.
            raise self._lost(error) from None
        finally:
            self._tell(began)
        replies = self._answered(replies)
        return self._settled(owed, replies) if owed else replies

    @property
    def owes(self) -> bool:
        """Whether there are deletions that did not get through."""
        return bool(self._owed)

    def owe_deletion(self, keys: Collection[str]) -> None:
        """These could not be removed: the next call does so before anything else.

        Of more than MOST_OWED the first are left to end by their own time.
        """
        self._owed |= {key: object() for key in keys}
        while len(self._owed) > MOST_OWED:
            self._owed.pop(next(iter(self._owed)), None)

    def _debt(self) -> Debt:
        keys = dict(self._owed)
        return Debt(keys, self.delete_commands(list(keys)))

    def _settled(self, owed: Debt, replies: list[Any]) -> list[Any]:
        """The replies without those of the debt, which is paid unless the server refused."""
        paid, rest = replies[: len(owed.commands)], replies[len(owed.commands) :]
        if not any(isinstance(reply, RedisError) for reply in paid):
            for key, mark in owed.keys.items():
                if self._owed.get(key) is mark:
                    self._owed.pop(key, None)
        return rest

    def get_commands(self, keys: Sequence[str]) -> list[Command]:
        """Commands that read keys: MGET where all keys live on one server."""
        if self.is_cluster or len(keys) == 1:
            return [("GET", key) for key in keys]
        return [("MGET", *keys)]

    def delete_commands(self, keys: Collection[str]) -> list[Command]:
        """Commands that remove keys."""
        if self.is_cluster:
            return [("UNLINK", key) for key in keys]
        return [("UNLINK", *keys)] if keys else []

    def get_replies(self, replies: list[Any]) -> list[bytes | None]:
        """The values of `get_commands`, in the order of the keys."""
        found = replies[0] if replies and isinstance(replies[0], list) else replies
        return [value if isinstance(value, bytes) else None for value in found]

    def scan(self, pattern: str, *, count: int) -> Iterator[list[str]]:
        """The keys that match a glob, `count` at a time, without holding up the server.

        Raises Unavailable.
        """
        self._require()
        try:
            found = self._client().scan_iter(match=pattern, count=count)
            while piece := self._answered(list(itertools.islice(found, count))):
                # Our keys are ASCII: what is not is nobody's of ours.
                yield [key.decode() for key in piece if key.isascii()]
        except LOST as error:
            raise self._lost(error) from None

    @contextmanager
    def subscriber(self) -> Iterator[Any]:
        """A pub/sub connection; redis-py's errors come through, for whoever listens starts anew."""
        subscriber = self._client().pubsub()
        try:
            yield subscriber
        finally:
            subscriber.close()

    def _tell(self, began: float) -> None:
        for callback in self._listeners:
            callback(perf_counter() - began)

    def _require(self) -> None:
        if not self.breaker.allow():
            raise Unavailable

    def _lost(self, error: BaseException) -> Unavailable:
        if isinstance(error, ResponseError):
            # The server answers: it is our command that it refuses, for example when read-only.
            self.breaker.succeeded()
        else:
            self.breaker.failed()
        self._stats.of(EVERYWHERE).remote.errors += 1
        logger.debug("level 2: %s", error)
        return Unavailable(str(error))

    def _answered(self, replies: list[Any]) -> list[Any]:
        lost = next((reply for reply in replies if isinstance(reply, LOST)), None)
        if lost is not None and not isinstance(lost, ResponseError):
            raise self._lost(lost)
        self.breaker.succeeded()
        return replies
