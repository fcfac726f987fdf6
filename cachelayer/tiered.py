"""Both levels together: read-through with single flight, stale-while-revalidate, absence."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cachelayer.entries import Entries
from cachelayer.layer import cache_layer
from cachelayer.loading import Loading
from cachelayer.policy import Policies, Policy
from cachelayer.steps import adrive, drive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from cachelayer.layer import Layer


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
        self._version = version
        self._policies = Policies(policy)
        self._layer = layer
        self._in_fleet = one_load_in_fleet and self._policies.may_use_remote
        self._entries: Entries | None = None

    def get_or_load(
        self, parts: Sequence[object], load: Callable[[], Any], *, tags: Sequence[str] = ()
    ) -> Any:
        """The value of `parts`, loaded when neither level has it.

        Raises what `load` raises, and nothing of the cache's own.
        """
        entries = self.entries()
        layer = entries.layer
        key = entries.known_key(parts, tags)
        if key is None:
            key = drive(entries.learn_key(parts, tags), layer.remote, load)
        entry, counters, seen = layer.local.get(key), entries.stats.local, None
        if entry is None:
            entry, seen = entries.fetch(key)
            counters = entries.stats.remote
        if entry is None or self._policies.is_due(entry, time.time()):
            loading = Loading(entries, layer.flights, key, in_fleet=self._in_fleet, seen=seen)
            return drive(loading.serve(entry, counters), layer.remote, load)
        counters.count_hit(missing=entry.missing)
        return entry.value

    async def aget_or_load(
        self,
        parts: Sequence[object],
        load: Callable[[], Awaitable[Any]],
        *,
        tags: Sequence[str] = (),
    ) -> Any:
        """`get_or_load` for coroutines."""
        entries = self.entries()
        layer = entries.layer
        key = entries.known_key(parts, tags)
        if key is None:
            key = await adrive(entries.learn_key(parts, tags), layer.remote, load)
        entry, counters, seen = layer.local.get(key), entries.stats.local, None
        if entry is None:
            entry, seen = await entries.afetch(key)
            counters = entries.stats.remote
        if entry is None or self._policies.is_due(entry, time.time()):
            loading = Loading(entries, layer.async_flights, key, in_fleet=self._in_fleet, seen=seen)
            return await adrive(loading.serve(entry, counters), layer.remote, load)
        counters.count_hit(missing=entry.missing)
        return entry.value

    def key(self, parts: Sequence[object], generations: Sequence[str] = ()) -> str:
        """Where a value is kept, in either level."""
        return self.entries().key(parts, generations)

    def entries(self) -> Entries:
        """The values as this process's layer keeps them."""
        layer = self._layer()
        entries = self._entries
        if entries is None or entries.layer is not layer:
            entries = Entries(layer, self.namespace, self._version, self._policies)
            self._entries = entries
        return entries
