"""Many values of one namespace in one round trip (one a node in a cluster)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cachelayer.codec import Entry, encode
from cachelayer.invalidation import invalidate
from cachelayer.remote import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
        """The values that either level has; the others are absent from the answer."""
        layer, keys = self._keys(many, tags)
        now = time.time()
        found: dict[Parts, Entry] = {}
        missing: dict[Parts, str] = {}
        for parts, key in keys.items():
            entry = layer.local.get(key)
            if entry is not None and entry.is_usable(now):
                found[parts] = entry
            else:
                missing[parts] = key
        counters = layer.stats.of(self._values.namespace)
        counters.local.hits += len(found)
        counters.local.misses += len(missing)
        if missing:
            remote = self._fetch(layer, missing)
            counters.remote.hits += len(remote)
            counters.remote.misses += len(missing) - len(remote)
            found |= remote
        return {parts: found[parts].value for parts in keys if parts in found}

    def set_many(self, values: Mapping[Parts, Any], *, tags: Sequence[str] = ()) -> None:
        """Keep values in both levels."""
        layer, keys = self._keys(values, tags)
        commands = []
        for parts, value in values.items():
            token = layer.local.begin(keys[parts])
            commands += self._values.store(layer, keys[parts], value, token)
        self._send(layer, commands)

    def delete_many(self, many: Iterable[Parts], *, tags: Sequence[str] = ()) -> None:
        """Remove values everywhere, and from the memory of every process."""
        layer, keys = self._keys(many, tags)
        invalidate(keys=list(keys.values()), layer=layer)

    def touch_many(self, many: Iterable[Parts], *, ttl: float, tags: Sequence[str] = ()) -> int:
        """Let values live for `ttl` more seconds from now; returns how many were there.

        Two round trips: an entry carries its own times, so it is read and written back.
        """
        layer, keys = self._keys(many, tags)
        found = self._fetch(layer, keys)
        now = time.time()
        commands: list[tuple[Any, ...]] = []
        for parts, old in found.items():
            entry = Entry(old.value, old.created, now + ttl, now + ttl, old.missing)
            data = encode(entry, compress_above=layer.settings.compress_above)
            commands.append(("SET", keys[parts], data, "XX", "PX", int(ttl * 1000)))
        layer.local.delete(keys.values())
        self._send(layer, commands)
        return len(found)

    def _keys(self, many: Iterable[Parts], tags: Sequence[str]) -> tuple[Layer, dict[Parts, str]]:
        layer = self._values.layer()
        generations = self._values.generations(tags)
        return layer, {parts: self._values.key(parts, generations) for parts in many}

    def _fetch(self, layer: Layer, keys: Mapping[Parts, str]) -> dict[Parts, Entry]:
        if not keys:
            return {}
        tokens = {parts: layer.local.begin(key) for parts, key in keys.items()}
        try:
            replies = layer.remote.call(*layer.remote.get_commands(list(keys.values())))
        except Unavailable:
            return {}
        now = time.time()
        found = {}
        for (parts, key), data in zip(keys.items(), layer.remote.get_replies(replies), strict=True):
            entry = self._values.decoded(layer, key, data)
            if entry is not None and entry.is_usable(now):
                self._values.keep(layer, key, entry, tokens[parts])
                found[parts] = entry
        return found

    def _send(self, layer: Layer, commands: list[tuple[Any, ...]]) -> None:
        if commands:
            try:
                layer.remote.call(*commands)
            except Unavailable:
                return
