"""Both levels together: read-through with single flight, stale-while-revalidate, absence.

Of all who miss a value at once, one in each process asks level 2, and one in all processes loads;
the others wait for what it finds. When level 2 is gone, each process loads for itself.
"""

from __future__ import annotations

import random
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachelayer.codec import CorruptEntry, Entry, EntryTooLarge, decode, encode
from cachelayer.keys import entry_key, lock_key
from cachelayer.layer import cache_layer
from cachelayer.remote import Unavailable
from cachelayer.steps import Background, Join, Load, Pause, adrive, drive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from cachelayer.flights import Flights
    from cachelayer.layer import Layer
    from cachelayer.local import Token
    from cachelayer.remote import Command
    from cachelayer.stats import LevelStats, NamespaceStats
    from cachelayer.steps import Steps

# How long a loader may take before those who wait for it load for themselves.
LONGEST_LOAD = 10.0
FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.02


def _no_loader() -> None:
    """For steps that load nothing."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long values live; times are seconds.

    A value is fresh for `ttl`, and may be served for `stale_for` more while one caller loads it
    anew. With `refresh_ahead`, a part of `ttl`, that begins so long before its end. A loader's None
    is kept for `negative_ttl`, and not at all when that is 0. Level 1 keeps a value for at most
    `local_ttl` (by default what the layer allows); `remote=False` keeps it out of level 2.
    """

    ttl: float
    stale_for: float = 0.0
    refresh_ahead: float = 0.0
    negative_ttl: float = 0.0
    local_ttl: float | None = None
    remote: bool = True


class TieredCache:
    """The values of one namespace.

    What can change carries a tag for each thing that it depends on: invalidating the tag puts it
    out of reach. Values from level 1 are shared, so callers must not change them.
    """

    def __init__(
        self,
        namespace: str,
        policy: Policy | Callable[[Any], Policy],
        *,
        layer: Callable[[], Layer] = cache_layer,
        version: int = 1,
        one_load_in_fleet: bool = True,
    ) -> None:
        """`policy` may depend on the value. Raise `version` when the values' shape changes.

        Without `one_load_in_fleet` each process loads for itself, which for a cheap loader is less
        than asking the others.
        """
        self.namespace = namespace
        self.version = version
        self._policy = policy
        self.layer = layer
        self._one_load_in_fleet = one_load_in_fleet
        self._uses_remote = callable(policy) or policy.remote

    def get_or_load(
        self, parts: Sequence[object], load: Callable[[], Any], *, tags: Sequence[str] = ()
    ) -> Any:
        """The value of `parts`, loaded when neither level has it.

        Raises what `load` raises, and nothing of the cache's own.
        """
        layer = self.layer()
        key = self._known_key(layer, parts, tags)
        entry = None if key is None else layer.local.get(key)
        if entry is not None and not self._is_due(entry, time.time()):
            self._count_hit(self._stats(layer).local, entry)
            return entry.value
        if entry is None and key is not None and self._uses_remote:
            # What `_read` does, told straight: on this path every function call counts.
            entry = self._in_level_2(layer, key)
            if entry is None:
                return drive(self._load_once(layer, layer.flights, key), layer.remote, load)
            if not self._is_due(entry, time.time()):
                return entry.value
            counters = self._stats(layer).remote
            return drive(
                self._serve_due(layer, layer.flights, key, entry, counters), layer.remote, load
            )
        return drive(self._read(layer, layer.flights, key, parts, tags), layer.remote, load)

    async def aget_or_load(
        self,
        parts: Sequence[object],
        load: Callable[[], Awaitable[Any]],
        *,
        tags: Sequence[str] = (),
    ) -> Any:
        """`get_or_load` for coroutines."""
        layer = self.layer()
        key = self._known_key(layer, parts, tags)
        entry = None if key is None else layer.local.get(key)
        if entry is not None and not self._is_due(entry, time.time()):
            self._count_hit(self._stats(layer).local, entry)
            return entry.value
        steps = self._read(layer, layer.async_flights, key, parts, tags)
        return await adrive(steps, layer.remote, load)

    def key(self, parts: Sequence[object], generations: Sequence[str] = ()) -> str:
        """Where a value is kept, in either level."""
        prefix = self.layer().settings.prefix
        return entry_key(prefix, self.namespace, self.version, parts, generations)

    def generations(self, tags: Sequence[str]) -> Sequence[str]:
        """The generations of tags, asked for if need be."""
        if not tags:
            return ()
        layer = self.layer()
        return layer.tags.known(tags) or drive(layer.tags.learn(tags), layer.remote, _no_loader)

    def _known_key(self, layer: Layer, parts: Sequence[object], tags: Sequence[str]) -> str | None:
        """The value's key, unless a generation has to be asked for."""
        generations = layer.tags.known(tags) if tags else ()
        return None if generations is None else self.key(parts, generations)

    def _in_level_2(self, layer: Layer, key: str) -> Entry | None:
        """The usable entry of level 2, which is in level 1 then."""
        layer.messages.listen()
        stats = self._stats(layer)
        stats.local.misses += 1
        token = layer.local.begin(key)
        try:
            (data,) = layer.remote.call(("GET", key))
        except Unavailable:
            return None
        entry = self.decoded(layer, key, data)
        if entry is None or not entry.is_usable(time.time()):
            stats.remote.misses += 1
            return None
        self._count_hit(stats.remote, entry)
        self.keep(layer, key, entry, token)
        return entry

    def _read(
        self,
        layer: Layer,
        flights: Flights,
        key: str | None,
        parts: Sequence[object],
        tags: Sequence[str],
    ) -> Steps[Any]:
        layer.messages.listen()
        if key is None:
            key = self.key(parts, (yield from layer.tags.learn(tags)))
        stats = self._stats(layer)
        entry = layer.local.get(key)
        counters = stats.local
        if entry is None or not entry.is_usable(time.time()):
            stats.local.misses += 1
            token = layer.local.begin(key)
            entry = yield from self._ask(layer, key)
            counters = stats.remote
            self.keep(layer, key, entry, token)
        if entry is None:
            return (yield from self._load_once(layer, flights, key))
        self._count_hit(counters, entry)
        if self._is_due(entry, time.time()):
            yield from self._serve_due(layer, flights, key, entry, counters)
        return entry.value

    def _serve_due(
        self, layer: Layer, flights: Flights, key: str, entry: Entry, counters: LevelStats
    ) -> Steps[Any]:
        """Serve an entry that should be loaded anew, and see to it that one caller does so."""
        if not entry.is_fresh(time.time()):
            counters.stale_serves += 1
        if not flights.is_under_way(key):
            yield Background(self._load_once(layer, flights, key))
        return entry.value

    def _ask(self, layer: Layer, key: str) -> Steps[Entry | None]:
        """The usable entry of level 2, if there is one; what cannot be read is none."""
        counters = self._stats(layer).remote
        if not self._uses_remote:
            return None
        try:
            (data,) = yield [("GET", key)]
        except Unavailable:
            return None
        entry = self.decoded(layer, key, data)
        if entry is None or not entry.is_usable(time.time()):
            counters.misses += 1
            return None
        return entry

    def decoded(self, layer: Layer, key: str, data: Any) -> Entry | None:
        """The entry that level 2 gave; what cannot be read is none, and counted."""
        if not isinstance(data, bytes):
            return None
        try:
            entry = decode(data)
        except CorruptEntry:
            self._stats(layer).remote.corrupt += 1
            layer.stats.notify("corrupt", namespace=self.namespace, key=key)
            return None
        self._stats(layer).remote.bytes_read += len(data)
        return entry

    def _load_once(self, layer: Layer, flights: Flights, key: str) -> Steps[Any]:
        """Load, or wait for whoever in this process does so already."""
        flight, leads = flights.board(key)
        if not leads:
            self._stats(layer).local.waits += 1
            if not (yield Join(flight, LONGEST_LOAD)):
                return (yield from self._load(layer, key, ()))
            if flight.error is not None:
                raise flight.error
            return flight.value
        try:
            # Another flight may have landed between this caller's look and its boarding.
            entry = layer.local.get(key)
            if entry is not None and not self._is_due(entry, time.time()):
                value = entry.value
            elif self._one_load_in_fleet and self._uses_remote:
                value = yield from self._load_in_fleet(layer, key)
            else:
                value = yield from self._load(layer, key, ())
        except BaseException as error:
            flights.end(key, flight, error=error)
            raise
        flights.end(key, flight, value)
        return value

    def _load_in_fleet(self, layer: Layer, key: str) -> Steps[Any]:
        """Load, or wait for whichever other process does so already.

        The lock only saves work: whoever waits too long, or finds it gone, loads for himself.
        """
        lock = lock_key(layer.settings.prefix, key)
        mine = secrets.token_hex(8)
        token = layer.local.begin(key)
        try:
            reply, data = yield [
                ("SET", lock, mine, "NX", "PX", int(LONGEST_LOAD * 1000)),
                ("GET", key),
            ]
        except Unavailable:
            return (yield from self._load(layer, key, ()))
        if reply:
            entry = self.decoded(layer, key, data)
            if entry is None or self._is_due(entry, time.time()):
                return (yield from self._load(layer, key, [("DEL", lock)]))
            self.keep(layer, key, entry, token)
            yield from self._send([("DEL", lock)])
            return entry.value
        self._stats(layer).local.waits += 1
        entry = yield from self._await_others(layer, key, lock)
        if entry is not None:
            return entry.value
        # Whoever holds the lock still does nothing for anybody.
        return (yield from self._load(layer, key, [("DEL", lock)]))

    def _await_others(self, layer: Layer, key: str, lock: str) -> Steps[Entry | None]:
        deadline = time.monotonic() + LONGEST_LOAD
        pause = FIRST_PAUSE
        while time.monotonic() < deadline:
            yield Pause(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)
            token = layer.local.begin(key)
            try:
                data, locked = yield [("GET", key), ("EXISTS", lock)]
            except Unavailable:
                return None
            entry = self.decoded(layer, key, data)
            if entry is not None and entry.is_fresh(time.time()):
                self.keep(layer, key, entry, token)
                return entry
            if not locked:
                return None
        return None

    def _load(self, layer: Layer, key: str, afterwards: Sequence[Command]) -> Steps[Any]:
        """Call the loader and keep what it finds; `afterwards` runs whatever happens."""
        counters = self._stats(layer).local
        token = layer.local.begin(key)
        started = time.perf_counter()
        try:
            value = yield Load()
            commands = self.store(layer, key, value, token)
        except GeneratorExit:
            raise
        except BaseException:  # a cancelled loader, too, must not leave its lock behind
            yield from self._send(afterwards)
            raise
        finally:
            counters.loads += 1
            counters.load_seconds += time.perf_counter() - started
        yield from self._send([*commands, *afterwards])
        return value

    def _send(self, commands: Sequence[Command]) -> Steps[None]:
        """Commands that nobody misses if level 2 is gone."""
        if commands:
            with suppress(Unavailable):
                yield list(commands)

    def store(self, layer: Layer, key: str, value: Any, token: Token) -> list[Command]:
        """Keep a loaded value in level 1; returns what puts it into level 2."""
        policy = self._policy(value) if callable(self._policy) else self._policy
        lifetime = policy.negative_ttl if value is None else policy.ttl
        if lifetime <= 0:
            return []
        lifetime *= 1 - random.uniform(0, layer.settings.ttl_jitter)
        now = time.time()
        stale_for = 0.0 if value is None else policy.stale_for
        entry = Entry(value, now, now + lifetime, now + lifetime + stale_for, value is None)
        # First what may refuse the value: level 1 must not keep what level 2 cannot hold.
        commands = self._commands(layer, key, entry) if policy.remote else []
        self.keep(layer, key, entry, token)
        return commands

    def _commands(self, layer: Layer, key: str, entry: Entry) -> list[Command]:
        """What puts an entry into level 2, unless it is too large."""
        try:
            data = encode(entry, compress_above=layer.settings.compress_above)
        except EntryTooLarge:
            data = b""
        counters = self._stats(layer).remote
        if not 0 < len(data) <= layer.settings.largest_entry:
            counters.too_large += 1
            layer.stats.notify("too_large", namespace=self.namespace, key=key)
            return []
        counters.sets += 1
        counters.bytes_written += len(data)
        left = entry.expires - entry.created
        return [("SET", key, data, "PX", max(1, int(left * 1000)))]

    def keep(self, layer: Layer, key: str, entry: Entry | None, token: Token) -> None:
        """Put an entry into level 1, unless it was invalidated since `token` was taken."""
        if entry is None:
            return
        policy = self._policy(entry.value) if callable(self._policy) else self._policy
        ttl = min(policy.local_ttl or layer.settings.local_ttl, entry.expires - time.time())
        if ttl > 0 and layer.local.set(key, self.namespace, entry, ttl, token=token):
            self._stats(layer).local.sets += 1

    def _is_due(self, entry: Entry, now: float) -> bool:
        """Whether the entry should be loaded anew, though it may still be served."""
        if entry.missing or callable(self._policy):
            return not entry.is_fresh(now)
        ahead = self._policy.refresh_ahead
        return now >= entry.fresh_until - ahead * (entry.fresh_until - entry.created)

    def _stats(self, layer: Layer) -> NamespaceStats:
        return layer.stats.of(self.namespace)

    def _count_hit(self, counters: LevelStats, entry: Entry) -> None:
        counters.hits += 1
        if entry.missing:
            counters.negative_hits += 1
