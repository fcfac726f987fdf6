"""Bytes in level 2 that no process wrote are misses; each read counts them once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cachelayer.keys import lock_key
from cachelayer.policy import Policy
from cachelayer.tests.faulty import new_cache
from cachelayer.tests.servers import until

pytestmark = pytest.mark.xdist_group("valkey")


def corrupt(layer):
    return layer.stats.of("things").remote.corrupt


@pytest.mark.parametrize("bytes_", [b"", b"garbage", b"\x80\x04\x95", b"\x00" * 5000])
def test_bytes_that_are_no_entry_are_a_miss_and_counted_once(layer, bytes_):
    values = new_cache(layer)
    heard: list[str] = []
    layer.stats.subscribe(lambda event: heard.append(event.kind))
    layer.remote.call(("SET", values.key((1,)), bytes_))
    assert values.get_or_load((1,), lambda: "right") == "right"
    assert corrupt(layer) == 1
    assert heard == ["corrupt"]


def test_a_coroutine_counts_bytes_that_are_no_entry_once(layer, run):
    async def load():
        return "right"

    values = new_cache(layer)
    layer.remote.call(("SET", values.key((1,)), b"garbage"))
    assert run(values.aget_or_load((1,), load)) == "right"
    assert corrupt(layer) == 1


def test_who_waits_for_another_process_counts_bytes_that_are_no_entry_once(layer):
    values = new_cache(layer)
    key = values.key((1,))
    lock = lock_key(layer.settings.prefix, key)
    layer.remote.call(("SET", key, b"garbage"))
    layer.remote.call(("SET", lock, "another process"))
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(values.get_or_load, (1,), lambda: "right")
        until(lambda: layer.stats.of("things").local.waits, "it waits for the other process")
        layer.remote.call(("DEL", lock))
        assert waiting.result() == "right"
    assert corrupt(layer) == 1


def test_bytes_that_are_no_entry_are_counted_when_a_stale_value_is_loaded_anew(layer):
    values = new_cache(layer, Policy(ttl=0.001, stale_for=60))
    values.get_or_load((1,), lambda: "old")
    layer.remote.call(("SET", values.key((1,)), b"garbage"))
    until(lambda: values.get_or_load((1,), lambda: "new") == "new", "the new value is there")
    assert corrupt(layer) == 1


def test_a_key_of_another_type_is_a_miss(layer):
    values = new_cache(layer)
    layer.remote.call(("LPUSH", values.key((1,)), "x"))
    assert values.get_or_load((1,), lambda: "right") == "right"
