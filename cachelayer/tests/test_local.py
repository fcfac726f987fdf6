"""Level 1: its budget, its order, its times, and loads that lost the race."""

import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachelayer.codec import Entry
from cachelayer.local import OVERHEAD, LocalCache, size_of

ROOT = Path(__file__).parents[2]
BUDGET = 100_000


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def evicted():
    return []


@pytest.fixture
def cache(clock, evicted):
    return LocalCache(
        BUDGET, 60.0, on_evict=lambda name, count: evicted.append((name, count)), clock=clock
    )


def entry(value="value"):
    return Entry(value, 1.0, 2.0, 3.0)


def put(cache, key, value="value", *, namespace="jobs", ttl=10.0):
    return cache.set(key, namespace, entry(value), ttl, token=cache.begin(key))


def test_what_was_stored_is_found(cache):
    stored = entry()
    assert cache.set("a", "jobs", stored, 10.0, token=cache.begin("a"))
    assert cache.get("a") is stored


def test_what_was_not_stored_is_not_found(cache):
    assert cache.get("a") is None


def test_an_entry_ends_with_its_time(cache, clock):
    put(cache, "a", ttl=10.0)
    clock.now += 9.9
    assert cache.get("a") is not None
    clock.now += 0.1
    assert cache.get("a") is None


def test_no_entry_outlives_the_longest_time(cache, clock):
    put(cache, "a", ttl=3600.0)
    clock.now += 60.0
    assert cache.get("a") is None


def test_expired_entries_give_their_room_back_and_are_no_evictions(cache, clock, evicted):
    for number in range(5):
        put(cache, f"a{number}")
    clock.now += 10.0
    put(cache, "b")
    assert len(cache) == 1
    assert evicted == []


@pytest.mark.parametrize("ttl", [0.0, -1.0])
def test_an_entry_without_time_is_not_stored_and_ends_what_was_there(cache, ttl):
    put(cache, "a")
    assert not put(cache, "a", "newer", ttl=ttl)
    assert cache.get("a") is None


def test_the_least_recently_used_goes_first(cache, evicted):
    for number in range(10):
        put(cache, f"a{number}", bytes(8000))
    cache.get("a0")
    for number in range(3):
        put(cache, f"b{number}", bytes(8000), namespace="pages")
    assert cache.get("a0") is not None
    assert cache.get("a1") is None
    assert {name for name, _ in evicted} == {"jobs"}
    assert sum(count for _, count in evicted) == 13 - len(cache)


def test_the_budget_is_never_exceeded(cache):
    for number in range(100):
        put(cache, f"a{number}", bytes(number * 90))
        assert cache.bytes_used <= BUDGET


def test_an_entry_above_a_tenth_of_the_budget_is_not_stored(cache):
    put(cache, "a", b"older")
    assert not put(cache, "a", bytes(BUDGET // 10))
    assert cache.get("a") is None
    assert put(cache, "a", bytes(BUDGET // 10 - OVERHEAD - 200))


def test_who_hears_of_evictions_may_use_the_cache(clock):
    lengths: list[int] = []
    small = LocalCache(
        BUDGET, 60.0, on_evict=lambda name, count: lengths.append(len(small)), clock=clock
    )
    for number in range(20):
        put(small, f"a{number}", bytes(8000))
    assert set(lengths) == {len(small)}


def test_deleted_keys_are_gone(cache):
    for key in ("a", "b", "c"):
        put(cache, key)
    cache.delete(["a", "b", "never there"])
    assert [cache.get(key) is None for key in ("a", "b", "c")] == [True, True, False]


def test_the_keys_to_delete_may_come_from_code_that_uses_the_cache(cache):
    put(cache, "a")
    cache.delete(key for key in ("a", "b") if cache.get(key))
    assert len(cache) == 0


def test_a_cleared_cache_is_empty(cache):
    put(cache, "a")
    cache.clear()
    assert (cache.get("a"), len(cache), cache.bytes_used) == (None, 0, 0)


INVALIDATIONS = {
    "delete": lambda cache: cache.delete(["a"]),
    "clear": lambda cache: cache.clear(),
}


@pytest.mark.parametrize("invalidate", INVALIDATIONS.values(), ids=INVALIDATIONS)
def test_what_was_loaded_before_an_invalidation_is_not_stored_after_it(cache, invalidate):
    token = cache.begin("a")
    invalidate(cache)
    assert not cache.set("a", "jobs", entry("old"), 10.0, token=token)
    assert cache.get("a") is None


@pytest.mark.parametrize("invalidate", INVALIDATIONS.values(), ids=INVALIDATIONS)
def test_a_load_that_began_after_an_invalidation_is_stored(cache, invalidate):
    before = cache.begin("a")
    invalidate(cache)
    after = cache.begin("a")
    assert cache.set("a", "jobs", entry("new"), 10.0, token=after)
    assert not cache.set("a", "jobs", entry("old"), 10.0, token=before)
    assert cache.get("a").value == "new"


def test_the_invalidation_of_another_key_stops_no_load(cache):
    token = cache.begin("a")
    other = next(f"b{n}" for n in range(9) if hash(f"b{n}") % 4096 != hash("a") % 4096)
    cache.delete([other])
    assert cache.set("a", "jobs", entry(), 10.0, token=token)


def test_loads_that_never_end_leave_nothing_behind(cache):
    for number in range(1000):
        cache.begin(f"a{number}")
    assert cache.bytes_used == 0


STEPS = st.sampled_from(["begin", "set", "delete", "clear", "write"])


@given(st.lists(STEPS, max_size=40))
def test_nothing_older_than_the_last_invalidation_is_ever_found(steps):
    """The source changes before each invalidation, as a commit does."""
    cache = LocalCache(BUDGET, 60.0, clock=Clock())
    source, valid, loads = 0, 0, []
    for step in steps:
        if step == "begin":
            loads.append((cache.begin("a"), source))
        elif step == "set" and loads:
            token, read = loads.pop(0)
            cache.set("a", "jobs", entry(read), 10.0, token=token)
        elif step == "write":
            source += 1
        elif step in INVALIDATIONS:
            INVALIDATIONS[step](cache)
            valid = source
        found = cache.get("a")
        assert found is None or found.value >= valid


def test_threads_leave_the_books_in_order():
    cache = LocalCache(BUDGET, 60.0)

    def work(seed):
        for number in range(2000):
            key = f"a{(number * seed) % 50}"
            put(cache, key, bytes(number % 5000))
            cache.get(key)
            if number % 97 == 0:
                cache.delete([key])
            if number % 501 == 0:
                cache.clear()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 3, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.bytes_used <= BUDGET
    cache.delete([f"a{number}" for number in range(50)])
    assert (len(cache), cache.bytes_used) == (0, 0)


@dataclass(slots=True)
class Slotted:
    name: str


@dataclass
class Plain:
    name: str


@pytest.mark.parametrize(
    "hold",
    [
        lambda text: text,
        lambda text: [text],
        lambda text: (text,),
        lambda text: {"key": {"deeper": [text]}},
        lambda text: {text: 1},
        lambda text: {text},
        Slotted,
        Plain,
    ],
)
def test_a_size_counts_what_is_inside(hold):
    text = "x" * 10_000
    assert 10_000 < size_of(hold(text)) < 11_000


def test_shared_objects_count_once():
    text = "x" * 10_000
    assert size_of([text] * 5) < 11_000


def test_a_value_that_contains_itself_has_a_size():
    endless: list[object] = []
    endless.append(endless)
    assert size_of(endless) < 200


def test_counting_stops_when_it_is_enough():
    assert size_of([uuid4() for _ in range(10_000)], enough=1000) < 100_000


GROWTH = """
import gc, os, sys
import psutil
from cachelayer.codec import Entry
from cachelayer.local import LocalCache

def nested(n):
    return {
        f"field {n} {i}": {"name": f"value {n} {i}", "tags": [f"tag {n} {i} {j}" for j in range(3)]}
        for i in range(6)
    }

VALUES = {"bytes": lambda n: os.urandom(10_000), "nested": nested, "tiny": lambda n: n}
make = VALUES[sys.argv[1]]
process = psutil.Process()
budget = 20_000_000
cache = LocalCache(budget, 3600.0)
gc.collect()
before = process.memory_info().rss
most, number, evicting = before, 0, 0
while evicting < 3000:
    key = f"cache:jobs.list:v1:{number:032x}"
    entry = Entry(make(number), number + 0.5, number + 1.5, number + 2.5)
    cache.set(key, "jobs.list", entry, 1000.0 + number, token=cache.begin(key))
    number += 1
    if number % 50 == 0:
        most = max(most, process.memory_info().rss)
        evicting += 50 * (len(cache) < number)
assert cache.bytes_used > 0.98 * budget, cache.bytes_used
print((most - before) / budget)
"""


@pytest.mark.parametrize("kind", ["bytes", "nested", "tiny"])
def test_the_process_grows_by_no_more_than_the_budget(kind):
    """Measured from outside the accounting, while filling and while evicting."""
    ran = subprocess.run(
        [sys.executable, "-c", GROWTH, kind], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert 0.4 < float(ran.stdout) < 1.1
