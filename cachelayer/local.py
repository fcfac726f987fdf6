"""Level 1: entries in the memory of this process, least recently used out first.

The budget is in bytes of real memory. A value is shared by all who get it: nobody may change it.
"""

from __future__ import annotations

import sys
import threading
import time
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, NamedTuple, NewType

from cachetools import TLRUCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cachelayer.codec import Entry

Token = NewType("Token", int)

# What an entry costs beside its key and its value: the Entry and its times, the _Item, four
# dictionaries' slots and a place in the order of expiry. Measured as growth of the process at the
# worst time, just after the dictionaries have grown.
OVERHEAD = 800
# An invalidation is remembered by a part of the key's hash. Another key of the same part costs
# a load under way its place in level 1, one time in 4,096; forgetting would cost a wrong answer.
_STRIPES = 4096
_LEAVES = frozenset((str, bytes, int, float, bool, type(None)))


def size_of(value: object, *, enough: float = float("inf")) -> int:
    """Bytes of the value and all it contains, shared objects once; stops counting at `enough`.

    Looks into lists, tuples, sets, dictionaries and objects with attributes. Every object counts
    as a multiple of 16 bytes, as CPython's allocator hands memory out.
    """
    if type(value) in _LEAVES:
        return sys.getsizeof(value) + 15 & ~15
    total = 0
    seen: set[int] = set()
    waiting: list[Any] = [value]
    while waiting and total < enough:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        total += sys.getsizeof(item) + 15 & ~15
        if type(item) in _LEAVES:
            continue
        if isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting += item
        else:
            waiting += _attributes(item)
    return total


def _attributes(item: object) -> list[object]:
    slots = [
        getattr(item, name, None)
        for kind in type(item).__mro__
        for name, member in vars(kind).items()
        if isinstance(member, MemberDescriptorType)
    ]
    return [*slots, getattr(item, "__dict__", None)]


class _Namespace:
    __slots__ = ("cleared", "name")

    def __init__(self, name: str, cleared: int = 0) -> None:
        self.name = name
        self.cleared = cleared


class _Item(NamedTuple):
    entry: Entry | None
    namespace: _Namespace
    size: int
    ttl: float
    stored: int


_ABSENT = _Item(None, _Namespace("", cleared=1), size=0, ttl=0.0, stored=0)


class _Items(TLRUCache[str, _Item, float]):
    """Remembers whose entries it had to drop for lack of room, as opposed to expired ones."""

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        super().__init__(
            max_bytes,
            ttu=lambda _key, item, now: now + item.ttl,
            timer=clock,
            getsizeof=lambda item: item.size,
        )
        self.evicted: dict[str, int] = {}

    def __missing__(self, key: str) -> _Item:
        """Misses are no exceptions here: raising costs twice as much."""
        return _ABSENT

    def popitem(self) -> tuple[str, _Item]:
        key, item = super().popitem()
        name = item.namespace.name
        self.evicted[name] = self.evicted.get(name, 0) + 1
        return key, item


class LocalCache:
    """At most `max_bytes` bytes of entries, none for longer than `max_ttl` seconds.

    `on_evict(namespace, count)` hears of entries dropped for lack of room. All methods may be
    called from any thread or greenlet; the lock is never held while foreign code runs, `clock`
    (monotonic seconds) apart.
    """

    def __init__(
        self,
        max_bytes: int,
        max_ttl: float,
        *,
        on_evict: Callable[[str, int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._items = _Items(max_bytes, clock)
        self._max_ttl = max_ttl
        self._largest = max_bytes // 10
        self._on_evict = on_evict
        self._lock = threading.Lock()
        self._namespaces: dict[str, _Namespace] = {}
        # Invalidations are numbered; a load may be stored if none that concerns it has a higher
        # number than the newest one at its beginning.
        self._newest = 0
        self._cleared = 0
        self._deleted = [0] * _STRIPES

    def get(self, key: str) -> Entry | None:
        with self._lock:
            item = self._items[key]
        return item.entry if item.stored >= item.namespace.cleared else None

    def get_many(self, keys: Iterable[str]) -> list[Entry | None]:
        """`get` for many, in their order."""
        wanted = tuple(keys)  # a generator's own code must not run under the lock
        with self._lock:
            items = [self._items[key] for key in wanted]
        return [item.entry if item.stored >= item.namespace.cleared else None for item in items]

    def begin(self, key: str) -> Token:
        """Call before loading the entry, from level 2 or from its source; `set` wants the token."""
        return Token(self._newest)

    def set(self, key: str, namespace: str, entry: Entry, ttl: float, *, token: Token) -> bool:
        """Store for `ttl` seconds; False if it was not.

        It is not if the key was invalidated since `begin` gave the token, or if the entry takes
        more than a tenth of the budget or has no time to live; what was there goes then.
        """
        size = OVERHEAD + sys.getsizeof(key) + size_of(entry.value, enough=self._largest)
        ttl = min(ttl, self._max_ttl)
        with self._lock:
            space = self._namespaces.setdefault(namespace, _Namespace(namespace))
            if token < max(self._cleared, space.cleared, self._deleted[hash(key) % _STRIPES]):
                return False
            if size > self._largest or ttl <= 0:
                self._items.pop(key, None)
                return False
            self._items[key] = _Item(entry, space, size, ttl, self._newest)
            evicted, self._items.evicted = self._items.evicted, {}
        if self._on_evict:
            for name, count in evicted.items():
                self._on_evict(name, count)
        return True

    def delete(self, keys: Iterable[str]) -> None:
        doomed = tuple(keys)  # a generator's own code must not run under the lock
        with self._lock:
            self._newest += 1
            for key in doomed:
                self._deleted[hash(key) % _STRIPES] = self._newest
                self._items.pop(key, None)

    def delete_namespace(self, namespace: str) -> None:
        """In constant time: its entries are no longer found, and make room when they expire."""
        with self._lock:
            self._newest += 1
            space = self._namespaces.setdefault(namespace, _Namespace(namespace))
            space.cleared = self._newest

    def clear(self) -> None:
        with self._lock:
            self._newest += 1
            self._cleared = self._newest
            self._items.clear()

    @property
    def bytes_used(self) -> int:
        """Bytes of what has not expired, entries of deleted namespaces included."""
        with self._lock:
            return int(self._items.currsize)

    def __len__(self) -> int:
        with self._lock:
            return len(self._items)
