"""Many values of one namespace in one round trip (one a node in a cluster)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cachelayer.invalidation import invalidate
from cachelayer.remote import Unavailable
from cachelayer.steps import drive
from cachelayer.touch import touch_commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cachelayer.codec import Entry
    from cachelayer.entries import Entries
    from cachelayer.layer import Layer
    from cachelayer.tiered import TieredCache

    Parts = tuple[Any, ...]


class Bulk:
    """Bulk operations on a cache's values, each named by its parts as a tuple.

    They never raise for the loss of level 2: what it had is missing then, and is not changed.
    """

    def __init__(self, values: TieredCache) -> None:
        """Works on the values of `values`, with its policy."""
        self._values = values

    def get_many(self, many: Iterable[Parts], *, tags: Sequence[str] = ()) -> dict[Parts, Any]:
        """The values that either level has; the others are absent from the answer.

        What level 2 gives is not kept in level 1: one large read would push out what many small
        ones need.
        """
        wanted = list(many)
        entries, keys = self._keys(wanted, tags)
        now = time.time()
        found = entries.layer.local.get_many(keys)
        missing = [n for n, entry in enumerate(found) if entry is None or not entry.is_usable(now)]
        if missing:
            fetched = self._fetch(entries, [keys[n] for n in missing])
            for n, entry in zip(missing, fetched, strict=True):
                found[n] = entry
        self._count(entries, len(wanted), len(missing), found.count(None))
        return {
            parts: entry.value
            for parts, entry in zip(wanted, found, strict=True)
            if entry is not None
        }

    def set_many(self, values: Mapping[Parts, Any], *, tags: Sequence[str] = ()) -> None:
        """Keep values in both levels."""
        entries, keys = self._keys(values, tags)
        commands = []
        for key, value in zip(keys, values.values(), strict=True):
            commands += entries.store(key, value, entries.layer.local.begin(key))
        self._send(entries.layer, commands)

    def delete_many(self, many: Iterable[Parts], *, tags: Sequence[str] = ()) -> None:
        """Remove values everywhere, and from the memory of every process."""
        entries, keys = self._keys(many, tags)
        invalidate(keys=keys, layer=entries.layer)

    def touch_many(self, many: Iterable[Parts], *, ttl: float, tags: Sequence[str] = ()) -> int:
        """Let values live for `ttl` more seconds from now; returns how many level 2 had."""
        entries, keys = self._keys(many, tags)
        layer = entries.layer
        commands = touch_commands(
            keys, until=time.time() + ttl, ttl=ttl, is_cluster=layer.remote.is_cluster
        )
        layer.local.delete(keys)
        return sum(reply for reply in self._send(layer, commands) if isinstance(reply, int))

    def _keys(self, many: Iterable[Parts], tags: Sequence[str]) -> tuple[Entries, list[str]]:
        entries = self._values.entries()
        layer = entries.layer
        layer.messages.listen()
        generations = layer.tags.known(tags) if tags else ()
        if generations is None:
            generations = drive(layer.tags.learn(tags), layer.remote)
        return entries, [entries.key(parts, generations) for parts in many]

    def _fetch(self, entries: Entries, keys: list[str]) -> list[Entry | None]:
        """What level 2 has that is usable, in the order of the keys."""
        remote = entries.layer.remote
        try:
            replies = remote.call(*remote.get_commands(keys))
        except Unavailable:
            return [None] * len(keys)
        now = time.time()
        found = []
        for key, data in zip(keys, remote.get_replies(replies), strict=True):
            entry = entries.decoded(key, data)
            found.append(entry if entry is not None and entry.is_usable(now) else None)
        return found

    def _count(self, entries: Entries, asked: int, missing: int, absent: int) -> None:
        stats = entries.stats
        stats.local.hits += asked - missing
        stats.local.misses += missing
        stats.remote.hits += missing - absent
        stats.remote.misses += absent

    def _send(self, layer: Layer, commands: list[tuple[Any, ...]]) -> list[Any]:
        """The replies; none when level 2 is gone."""
        if not commands:
            return []
        try:
            return layer.remote.call(*commands)
        except Unavailable:
            return []
