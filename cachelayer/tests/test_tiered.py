"""Reading through both levels."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cachelayer.codec import Entry
from cachelayer.policy import Policy
from cachelayer.tests.servers import until
from cachelayer.tiered import TieredCache

pytestmark = pytest.mark.xdist_group("valkey")


class Source:
    """What is cached, counting how often it is asked."""

    def __init__(self, value="value"):
        self.value = value
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self.calls += 1
        assert self.gate.wait(10)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def new_cache(layer, policy=None, **options):
    return TieredCache("things", policy or Policy(ttl=60), layer=lambda: layer, **options)


def count(layer, level, name):
    return getattr(getattr(layer.stats.of("things"), level), name)


def test_a_value_is_loaded_once_and_then_comes_from_memory(layer):
    source, values = Source({"a": [1, None, "ü"]}), new_cache(layer)
    assert [values.get_or_load((1,), source) for _ in range(3)] == [source.value] * 3
    assert source.calls == 1
    assert (count(layer, "local", "hits"), count(layer, "local", "loads")) == (2, 1)


def test_a_load_of_what_was_loaded_before_is_counted_apart(layer):
    values = new_cache(layer, Policy(ttl=60, remote=False))
    for parts in ((1,), (2,)):
        values.get_or_load(parts, Source())
    assert (count(layer, "local", "loads"), count(layer, "local", "reloads")) == (2, 0)
    layer.local.clear()
    values.get_or_load((1,), Source())
    assert (count(layer, "local", "loads"), count(layer, "local", "reloads")) == (3, 1)


def test_what_could_not_be_loaded_was_not_loaded_before(layer):
    values = new_cache(layer, Policy(ttl=60, remote=False))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            values.get_or_load((1,), Source(ZeroDivisionError()))
    values.get_or_load((1,), Source())
    assert (count(layer, "local", "loads"), count(layer, "local", "reloads")) == (3, 0)


def test_another_process_finds_it_in_level_2(valkey, make_layer):
    one, two = make_layer(valkey), make_layer(valkey)
    source = Source()
    new_cache(one).get_or_load((1,), source)
    assert new_cache(two).get_or_load((1,), source) == "value"
    assert source.calls == 1
    assert count(two, "remote", "hits") == 1


def test_different_parts_are_different_values(layer):
    values = new_cache(layer)
    assert values.get_or_load((1,), lambda: "int") == "int"
    assert values.get_or_load(("1",), lambda: "str") == "str"


def test_another_version_does_not_see_the_old_values(layer):
    new_cache(layer).get_or_load((1,), lambda: "old")
    assert new_cache(layer, version=2).get_or_load((1,), lambda: "new") == "new"


def test_what_the_loader_raises_is_raised_and_not_kept(layer):
    source, values = Source(KeyError("x")), new_cache(layer)
    for _ in range(2):
        with pytest.raises(KeyError):
            values.get_or_load((1,), source)
    assert source.calls == 2


def test_absence_is_not_kept_unless_the_policy_says_so(layer):
    source = Source(None)
    values = new_cache(layer)
    assert [values.get_or_load((1,), source) for _ in range(2)] == [None, None]
    assert source.calls == 2


def test_absence_is_kept_for_its_own_time(layer):
    source = Source(None)
    values = new_cache(layer, Policy(ttl=60, negative_ttl=30))
    assert [values.get_or_load((1,), source) for _ in range(3)] == [None] * 3
    assert source.calls == 1
    assert count(layer, "local", "negative_hits") == 2


def test_many_threads_that_miss_at_once_make_one_load(layer):
    source, values = Source(), new_cache(layer)
    source.gate.clear()
    with ThreadPoolExecutor(max_workers=50) as threads:
        waiting = [threads.submit(values.get_or_load, (1,), source) for _ in range(50)]
        until(lambda: count(layer, "local", "waits") == 49, "49 threads wait for the load")
        source.gate.set()
        assert {future.result() for future in waiting} == {"value"}
    assert source.calls == 1


def test_those_who_wait_get_the_loaders_error_too(layer):
    source, values = Source(KeyError("x")), new_cache(layer)
    source.gate.clear()
    with ThreadPoolExecutor(max_workers=5) as threads:
        waiting = [threads.submit(values.get_or_load, (1,), source) for _ in range(5)]
        until(lambda: count(layer, "local", "waits") == 4, "4 threads wait for the load")
        source.gate.set()
        assert all(isinstance(future.exception(), KeyError) for future in waiting)
    assert source.calls == 1


def test_several_processes_that_miss_at_once_make_one_load(valkey, make_layer):
    layers = [make_layer(valkey) for _ in range(5)]
    source = Source()
    source.gate.clear()
    with ThreadPoolExecutor(max_workers=5) as threads:
        waiting = [threads.submit(new_cache(one).get_or_load, (1,), source) for one in layers]
        until(lambda: sum(count(one, "local", "waits") for one in layers) == 4, "4 wait")
        source.gate.set()
        assert {future.result() for future in waiting} == {"value"}
    assert source.calls == 1


def test_a_process_that_fails_to_load_does_not_hold_up_the_others(valkey, make_layer):
    one, two = make_layer(valkey), make_layer(valkey)
    with pytest.raises(KeyError):
        new_cache(one).get_or_load((1,), Source(KeyError("x")))
    assert new_cache(two).get_or_load((1,), Source("right")) == "right"


def test_a_stale_value_is_served_while_one_caller_loads_it_anew(layer):
    source, values = Source("old"), new_cache(layer, Policy(ttl=0.05, stale_for=60))
    values.get_or_load((1,), source)
    source.value = "new"
    source.gate.clear()

    def served_stale():
        assert values.get_or_load((1,), source) == "old"
        return count(layer, "local", "stale_serves") >= 5

    until(served_stale, "it has become stale")
    assert source.calls == 2
    source.gate.set()
    until(lambda: values.get_or_load((1,), source) == "new", "the new value is there")


def test_an_entry_that_the_clock_has_left_behind_is_not_served(layer):
    values = new_cache(layer)
    key = values.key((1,))
    gone = Entry("old", created=1.0, fresh_until=2.0, expires=3.0)
    assert layer.local.set(key, "things", gone, 60, token=layer.local.begin(key))
    assert values.get_or_load((1,), lambda: "new") == "new"
    assert (count(layer, "local", "hits"), count(layer, "local", "misses")) == (0, 1)


def test_a_cache_follows_its_process_to_another_layer(valkey, make_layer):
    """As after a fork, which leaves the parent's layer behind."""
    one, two = make_layer(valkey), make_layer(valkey)
    current = [one, two]
    values = TieredCache("things", Policy(ttl=60), layer=lambda: current[0])
    assert values.get_or_load((1,), lambda: "value") == "value"
    del current[0]
    assert values.get_or_load((1,), lambda: "other") == "value"
    assert (count(one, "local", "loads"), count(two, "remote", "hits")) == (1, 1)


def test_a_value_that_is_asked_for_shortly_before_its_end_is_loaded_ahead(layer):
    source = Source("old")
    values = new_cache(layer, Policy(ttl=60, refresh_ahead=0.9999999))
    values.get_or_load((1,), source)
    source.value = "new"
    until(lambda: values.get_or_load((1,), source) == "new", "the new value is there")
    assert count(layer, "local", "stale_serves") == 0


def test_a_policy_can_keep_a_value_out_of_level_2(valkey, make_layer):
    one, two = make_layer(valkey), make_layer(valkey)
    policy = Policy(ttl=60, remote=False)
    source = Source()
    assert new_cache(one, policy).get_or_load((1,), source) == "value"
    assert new_cache(one, policy).get_or_load((1,), source) == "value"
    assert source.calls == 1
    new_cache(two, policy).get_or_load((1,), source)
    assert source.calls == 2


def test_a_policy_can_depend_on_the_value(valkey, make_layer):
    one, two = make_layer(valkey), make_layer(valkey)

    def policy(value):
        return Policy(ttl=60, remote=value == "shared")

    for value, loads in (("shared", 1), ("private", 2)):
        source = Source(value)
        for layer in (one, two):
            new_cache(layer, policy).get_or_load((value,), source)
        assert source.calls == loads


def test_a_value_above_the_cap_is_not_kept_in_level_2_and_counted(valkey, make_layer):
    one = make_layer(valkey, largest_entry=1000, compress_above=10_000)
    values = new_cache(one)
    assert values.get_or_load((1,), lambda: b"x" * 2000) == b"x" * 2000
    assert count(one, "remote", "too_large") == 1
    assert one.remote.call(("EXISTS", values.key((1,)))) == [0]


def test_a_coroutine_reads_through_both_levels(valkey, make_layer, run):
    one, two = make_layer(valkey), make_layer(valkey)
    calls = []

    async def load():
        calls.append(1)
        return {"a": 1}

    async def read(layer):
        return await new_cache(layer).aget_or_load((1,), load)

    async def main():
        return [await read(one), await read(one), await read(two)]

    assert run(main()) == [{"a": 1}] * 3
    assert len(calls) == 1


def test_500_coroutines_that_miss_at_once_make_one_load(layer, run):
    calls = []

    async def load():
        calls.append(1)
        await asyncio.sleep(0)
        return "value"

    async def main():
        values = new_cache(layer)
        return await asyncio.gather(*(values.aget_or_load((1,), load) for _ in range(500)))

    assert set(run(main())) == {"value"}
    assert len(calls) == 1


def test_a_coroutine_gets_the_loaders_error(layer, run):
    async def load():
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(new_cache(layer).aget_or_load((1,), load))
