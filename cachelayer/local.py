"""Level 1: entries in the memory of this process, least recently used out first.

The budget is in bytes of real memory. A value is shared by all who get it: nobody may change it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, NamedTuple, NewType

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


class _Item(NamedTuple):
    entry: Entry
    namespace: str
    size: int
    deadline: float


class _Items:
    """Least recently used first; knows its size and whose entries it had to drop for room.

    An OrderedDict instead of cachetools' TLRUCache: its linked list and heap in Python are a large
    part of a level-2 read. What has expired leaves when it is asked for, or as the oldest.
    """

    __slots__ = ("_clock", "_items", "_max_bytes", "evicted", "size")

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self._items: OrderedDict[str, _Item] = OrderedDict()
        self._max_bytes = max_bytes
        self._clock = clock
        self.size = 0
        self.evicted: dict[str, int] = {}

    def get(self, key: str) -> Entry | None:
        item = self._items.get(key)
        if item is None:
            return None
        if item.deadline <= self._clock():
            self.drop(key)
            return None
        self._items.move_to_end(key)
        return item.entry

    def put(self, key: str, item: _Item) -> None:
        self.drop(key)
        self._items[key] = item
        self.size += item.size
        while self.size > self._max_bytes:
            _, oldest = self._items.popitem(last=False)
            self.size -= oldest.size
            if oldest.deadline > self._clock():
                name = oldest.namespace
                self.evicted[name] = self.evicted.get(name, 0) + 1

    def drop(self, key: str) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self.size -= item.size

    def drop_expired(self) -> None:
        now = self._clock()
        for key in [key for key, item in self._items.items() if item.deadline <= now]:
            self.drop(key)

    def clear(self) -> None:
        self._items.clear()
        self.size = 0

    def __len__(self) -> int:
        return len(self._items)


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
        self._clock = clock
        self._max_ttl = max_ttl
        self._largest = max_bytes // 10
        self._on_evict = on_evict
        self._lock = threading.Lock()
        # Invalidations are numbered; a load may be stored if none that concerns it has a higher
        # number than the newest one at its beginning.
        self._newest = 0
        self._cleared = 0
        self._deleted = [0] * _STRIPES

    def get(self, key: str) -> Entry | None:
        with self._lock:
            return self._items.get(key)

    def get_many(self, keys: Iterable[str]) -> list[Entry | None]:
        """`get` for many, in their order."""
        wanted = tuple(keys)  # a generator's own code must not run under the lock
        with self._lock:
            return [self._items.get(key) for key in wanted]

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
            if token < max(self._cleared, self._deleted[hash(key) % _STRIPES]):
                return False
            if size > self._largest or ttl <= 0:
                self._items.drop(key)
                return False
            self._items.put(key, _Item(entry, namespace, size, self._clock() + ttl))
            evicted = self._items.evicted
            if evicted:
                self._items.evicted = {}
        if evicted and self._on_evict:
            for name, count in evicted.items():
                self._on_evict(name, count)
        return True

    def delete(self, keys: Iterable[str]) -> None:
        doomed = tuple(keys)  # a generator's own code must not run under the lock
        with self._lock:
            self._newest += 1
            for key in doomed:
                self._deleted[hash(key) % _STRIPES] = self._newest
                self._items.drop(key)

    def clear(self) -> None:
        with self._lock:
            self._newest += 1
            self._cleared = self._newest
            self._items.clear()

    @property
    def bytes_used(self) -> int:
        """Bytes of what has not expired."""
        with self._lock:
            self._items.drop_expired()
            return self._items.size

    def __len__(self) -> int:
        with self._lock:
            self._items.drop_expired()
            return len(self._items)
