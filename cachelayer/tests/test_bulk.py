"""Many values at once."""

import pytest

from cachelayer.bulk import Bulk
from cachelayer.policy import Policy
from cachelayer.tests.servers import until
from cachelayer.tiered import TieredCache

pytestmark = pytest.mark.xdist_group("valkey")


class CountingRemote:
    """Counts the round trips of a layer."""

    def __init__(self, layer):
        self.trips = 0
        self._call = layer.remote.call
        layer.remote.call = self

    def __call__(self, *commands):
        self.trips += 1
        return self._call(*commands)


def new_bulk(layer, policy=None):
    return Bulk(TieredCache("things", policy or Policy(ttl=60), layer=lambda: layer))


HUNDRED = {(n,): f"value {n}" for n in range(100)}


def test_many_values_are_set_and_read_in_one_round_trip_each(valkey, make_layer):
    one, two = make_layer(valkey), make_layer(valkey)
    writing, reading = CountingRemote(one), CountingRemote(two)
    new_bulk(one).set_many(HUNDRED)
    assert new_bulk(two).get_many(HUNDRED) == HUNDRED
    assert (writing.trips, reading.trips) == (1, 1)


def test_what_memory_has_takes_no_round_trip(layer):
    new_bulk(layer).set_many(HUNDRED)
    remote = CountingRemote(layer)
    assert new_bulk(layer).get_many(HUNDRED) == HUNDRED
    assert remote.trips == 0


def test_what_is_not_there_is_absent_from_the_answer(layer):
    new_bulk(layer).set_many({(1,): "a"})
    assert new_bulk(layer).get_many([(1,), (2,)]) == {(1,): "a"}


def test_values_are_read_by_single_readers_too(layer):
    values = TieredCache("things", Policy(ttl=60), layer=lambda: layer)
    Bulk(values).set_many({(1,): "a"}, tags=["t"])
    assert values.get_or_load((1,), lambda: "loaded", tags=["t"]) == "a"


def test_deleted_values_are_gone_in_all_processes(valkey, make_layer):
    one, two = make_layer(valkey), make_layer(valkey)
    two.messages.listen()
    assert two.messages.connected.wait(5)
    new_bulk(one).set_many(HUNDRED)
    assert len(new_bulk(two).get_many(HUNDRED)) == 100
    new_bulk(one).delete_many(HUNDRED)
    assert new_bulk(one).get_many(HUNDRED) == {}
    until(lambda: new_bulk(two).get_many(HUNDRED) == {}, "the other process has heard")


def test_touched_values_live_longer_and_are_fresh_again(valkey, make_layer):
    one, two = make_layer(valkey), make_layer(valkey)
    sizes = {("small",): b"x", ("large",): b"y" * 50_000, ("record",): {"a": [1, None]}}
    new_bulk(one, Policy(ttl=0.05, stale_for=60)).set_many(sizes)
    remote = CountingRemote(one)
    assert new_bulk(one).touch_many([*sizes, ("absent",)], ttl=600) == 3
    assert remote.trips == 1
    values = TieredCache("things", Policy(ttl=60), layer=lambda: two)
    for parts, value in sizes.items():
        assert values.get_or_load(parts, lambda: "loaded again") == value
        (left,) = two.remote.call(("PTTL", values.key(parts)))
        assert left > 500_000
    assert two.stats.of("things").remote.corrupt == 0


@pytest.mark.parametrize("planted", [("SET", b""), ("SET", b"garbage" * 10), ("LPUSH", b"x")])
def test_touching_what_is_no_entry_leaves_it_alone(layer, planted):
    key = TieredCache("things", Policy(ttl=1), layer=lambda: layer).key((1,))
    command, data = planted
    layer.remote.call((command, key, data))
    assert new_bulk(layer).touch_many([(1,)], ttl=600) == 0
    assert layer.remote.call(("PTTL", key)) == [-1]


def test_without_level_2_nothing_raises(mortal, make_layer):
    bulk = new_bulk(make_layer(mortal, breaker_failures=1))
    mortal.kill()
    bulk.set_many({(1,): "a"})
    assert bulk.get_many([(1,), (2,)]) == {(1,): "a"}
    assert bulk.touch_many([(1,)], ttl=1) == 0
    bulk.delete_many([(1,)])
    assert bulk.get_many([(1,)]) == {}
