"""What is kept of the values of one namespace, where, and for how long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cachelayer.codec import CorruptEntry, EntryTooLarge, decode, encode
from cachelayer.keys import entry_key
from cachelayer.remote import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cachelayer.codec import Entry
    from cachelayer.layer import Layer
    from cachelayer.local import Token
    from cachelayer.policy import Policies
    from cachelayer.remote import Command
    from cachelayer.steps import Steps


class Entries:
    """The entries of one namespace in the two levels of one layer."""

    def __init__(self, layer: Layer, namespace: str, version: int, policies: Policies) -> None:
        """`version` is that of the values' shape."""
        self.layer = layer
        self.stats = layer.stats.of(namespace)
        self.policies = policies
        self._namespace = namespace
        self._version = version

    def key(self, parts: Sequence[object], generations: Sequence[str] = ()) -> str:
        """Where a value is kept, in either level."""
        prefix = self.layer.settings.prefix
        return entry_key(prefix, self._namespace, self._version, parts, generations)

    def known_key(self, parts: Sequence[object], tags: Sequence[str]) -> str | None:
        """The value's key, unless a generation has to be asked for."""
        generations = self.layer.tags.known(tags) if tags else ()
        return None if generations is None else self.key(parts, generations)

    def learn_key(self, parts: Sequence[object], tags: Sequence[str]) -> Steps[str]:
        """Ask for the tags' generations; the outcome is the value's key."""
        self.layer.messages.listen()
        return self.key(parts, (yield from self.layer.tags.learn(tags)))

    def fetch(self, key: str) -> tuple[Entry | None, Any]:
        """What level 1 does not have: level 2's entry, if it is usable, and its bytes as they are.

        The entry is in level 1 then.
        """
        token = self._miss(key)
        if not self.policies.may_use_remote:
            return None, None
        try:
            (data,) = self.layer.remote.call(("GET", key))
        except Unavailable:
            return None, None
        return self._found(key, data, token), data

    async def afetch(self, key: str) -> tuple[Entry | None, Any]:
        """`fetch` for coroutines."""
        token = self._miss(key)
        if not self.policies.may_use_remote:
            return None, None
        try:
            (data,) = await self.layer.remote.acall(("GET", key))
        except Unavailable:
            return None, None
        return self._found(key, data, token), data

    def _miss(self, key: str) -> Token:
        self.layer.messages.listen()
        self.stats.local.misses += 1
        return self.layer.local.begin(key)

    def _found(self, key: str, data: Any, token: Token) -> Entry | None:
        entry = self.decoded(key, data)
        if entry is None or not entry.is_usable(time.time()):
            self.stats.remote.misses += 1
            return None
        self.keep(key, entry, token)
        return entry

    def decoded(self, key: str, data: Any) -> Entry | None:
        """The entry that level 2 gave; what cannot be read is none, and counted."""
        if not isinstance(data, bytes):
            return None
        try:
            entry = decode(data)
        except CorruptEntry:
            self.stats.remote.corrupt += 1
            self.layer.stats.notify("corrupt", namespace=self._namespace, key=key)
            return None
        self.stats.remote.bytes_read += len(data)
        return entry

    def keep(self, key: str, entry: Entry, token: Token) -> None:
        """Put an entry into level 1, unless it was invalidated since `token` was taken."""
        longest = self.policies.of(entry.value).local_ttl or self.layer.settings.local_ttl
        ttl = min(longest, entry.expires - time.time())
        if ttl > 0 and self.layer.local.set(key, self._namespace, entry, ttl, token=token):
            self.stats.local.sets += 1

    def store(self, key: str, value: Any, token: Token) -> list[Command]:
        """Keep a loaded value in level 1; returns what puts it into level 2.

        Raises UnsupportedValue for what level 2 cannot hold.
        """
        policy = self.policies.of(value)
        entry = policy.entry(value, jitter=self.layer.settings.ttl_jitter)
        if entry is None:
            return []
        # First what may refuse the value: level 1 must not keep what level 2 cannot hold.
        commands = self._commands(key, entry) if policy.remote else []
        self.keep(key, entry, token)
        return commands

    def _commands(self, key: str, entry: Entry) -> list[Command]:
        """What puts an entry into level 2, unless it is too large."""
        settings, counters = self.layer.settings, self.stats.remote
        try:
            data = encode(entry, compress_above=settings.compress_above)
        except EntryTooLarge:
            data = b""
        if not 0 < len(data) <= settings.largest_entry:
            counters.too_large += 1
            self.layer.stats.notify("too_large", namespace=self._namespace, key=key)
            return []
        counters.sets += 1
        counters.bytes_written += len(data)
        left = entry.expires - entry.created
        return [("SET", key, data, "PX", max(1, int(left * 1000)))]
