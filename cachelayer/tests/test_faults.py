"""What callers notice of a server that is lost, hangs, forgets or holds planted bytes: nothing."""

import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from cachelayer import loading
from cachelayer.codec import Entry, encode
from cachelayer.invalidation import SCAN_COUNT, delete_matching, invalidate
from cachelayer.keys import lock_key, pattern, tag_key
from cachelayer.policy import Policy
from cachelayer.remote import Unavailable
from cachelayer.tests.faulty import errors, new_cache, read
from cachelayer.tests.servers import until

pytestmark = pytest.mark.xdist_group("valkey")

FAULTS = {
    "killed": lambda server: server.kill(),
    "paused": lambda server: server.pause(),
    "restarted": lambda server: server.restart(),
    "flushed": lambda server: server.ask("FLUSHALL"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_callers_get_the_right_values_when_the_server_is(fault, process, mortal):
    layer = process()
    assert read(layer, "kept", parts=("before",), tags=()) == "kept"
    FAULTS[fault](mortal)
    for _ in range(2):
        for number in range(10):
            assert read(layer, number, parts=(number,)) == number
            assert read(layer, [number], parts=(number, "untagged"), tags=()) == [number]
    # Level 1 serves whatever happens to level 2.
    local = layer.stats.of("things").local
    assert local.hits >= 20 or fault in ("restarted", "flushed")
    assert local.loads <= 41


@pytest.mark.parametrize("fault", FAULTS)
def test_coroutines_get_the_right_values_when_the_server_is(fault, process, mortal, run):
    layer = process()

    async def main():
        values = new_cache(layer)

        async def load(number):
            async def loader():
                return number

            return await values.aget_or_load((number,), loader, tags=("t",))

        try:
            before = await load("before")
            FAULTS[fault](mortal)
            return before, [await load(number) for _ in range(2) for number in range(10)]
        finally:
            await vars(layer)["close_async"]()

    assert run(main()) == ("before", [*range(10), *range(10)])


@pytest.mark.parametrize("fault", ["killed", "paused"])
def test_the_breaker_spares_later_callers_the_wait(fault, process, mortal):
    layer = process(breaker_failures=3, breaker_reset=60)
    FAULTS[fault](mortal)
    for number in range(20):
        assert read(layer, number, parts=(number,), tags=()) == number
    assert layer.remote.breaker.state == "open"
    assert errors(layer) == 3
    assert layer.remote.breaker.refused >= 17


@pytest.mark.parametrize("fault", ["killed", "paused"])
def test_the_breaker_closes_by_itself_when_the_server_is_back(fault, process, mortal):
    one, two = process(), process()
    FAULTS[fault](mortal)
    for number in range(5):
        read(one, number, parts=(number,))
    assert one.remote.breaker.times_opened
    mortal.resume() if fault == "paused" else mortal.start()
    numbers = iter(range(100, 10_000))

    def shared():
        """Whether what one loads, the other finds."""
        number = next(numbers)
        read(one, "mine", parts=(number,), tags=())
        return read(two, "other", parts=(number,), tags=()) == "mine"

    until(shared, "level 2 is used again")
    assert one.remote.breaker.state == "closed"


def test_a_scan_that_the_server_answers_closes_the_breaker(valkey, make_layer):
    layer = make_layer(valkey, breaker_reset=0.01)
    for _ in range(layer.settings.breaker_failures):
        layer.remote.breaker.failed()
    assert layer.remote.breaker.state == "open"

    def found():
        with suppress(Unavailable):
            return [list(layer.remote.scan("no such key", count=10))]

    assert until(found, "the breaker lets a probe out") == [[]]
    assert layer.remote.breaker.state == "closed"


def test_level_1_serves_no_longer_than_its_time_when_no_invalidation_arrives(process, mortal):
    one, two = (process(local_ttl=0.3) for _ in range(2))
    for layer in (one, two):
        assert read(layer, "old") == "old"
    mortal.kill()
    assert not invalidate(tags=["t"], layer=one)
    assert read(one, "new") == "new"
    until(lambda: read(two, "new") == "new", "the other process's time is up", 5)


@pytest.mark.parametrize("fault", ["killed", "restarted", "hung up on"])
def test_level_1_is_emptied_when_its_listener_is_connected_again(fault, process, mortal):
    one, two = (process(local_ttl=60) for _ in range(2))
    policy = Policy(ttl=60, remote=False)
    for layer in (one, two):
        assert new_cache(layer, policy).get_or_load((1,), lambda: "old") == "old"
    if fault == "hung up on":
        mortal.ask("CLIENT", "KILL", "TYPE", "pubsub")
    else:
        FAULTS[fault](mortal)
    if fault == "killed":
        mortal.start()
    until(
        lambda: new_cache(two, policy).get_or_load((1,), lambda: "new") == "new",
        "the listener is connected again",
    )


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def planted_bytes(path):
    """What somebody could put where an entry was; none of it is one."""
    good = encode(Entry({"a": "b" * 200}, 1.0, 9e9, 9e9), compress_above=50)
    bomb = pickle.dumps(Bomb(path))
    rng = random.Random(1)
    yield from (bomb, good[:10] + bomb, good[:-20] + bomb, b"", b"garbage", b"\xff" * 10_000)
    yield from (good[:length] for length in range(0, len(good), 7))
    for _ in range(50):
        place = rng.randrange(len(good))
        yield good[:place] + bytes([good[place] ^ 1 << rng.randrange(8)]) + good[place + 1 :]


def test_planted_bytes_are_misses_that_are_counted_and_nothing_of_them_runs(process, tmp_path):
    layer = process()
    for number, planted in enumerate(planted_bytes(tmp_path / "run"), start=1):
        layer.remote.call(("SET", new_cache(layer).key((number,)), planted))
        assert read(layer, number, parts=(number,), tags=()) == number
        assert layer.stats.of("things").remote.corrupt == number
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["bomb", "empty", "garbage", "long", "list"])
def test_a_planted_generation_is_a_miss_at_most_and_nothing_of_it_runs(kind, process, tmp_path):
    one, two = process(), process()
    assert read(one, "old") == "old"
    key = tag_key(one.settings.prefix, "t")
    planted = {
        "bomb": pickle.dumps(Bomb(tmp_path / "run")),
        "empty": b"",
        "garbage": bytes(range(256)),
        "long": b"x" * 1_000_000,
    }
    one.remote.call(("DEL", key))
    one.remote.call(("LPUSH", key, "x") if kind == "list" else ("SET", key, planted[kind]))
    assert read(two, "new") == "new"
    invalidate(tags=["t"], layer=two)
    assert read(two, "newer") == "newer"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["bomb", "list"])
def test_a_planted_lock_costs_a_wait_and_no_more(kind, process, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "LONGEST_LOAD", 0.1)
    layer = process()
    lock = lock_key(layer.settings.prefix, new_cache(layer).key((1,)))
    bomb = pickle.dumps(Bomb(tmp_path / "run"))
    layer.remote.call(("LPUSH", lock, bomb) if kind == "list" else ("SET", lock, bomb))
    assert read(layer, "value", tags=()) == "value"
    assert read(layer, "other", tags=()) == "value"
    assert not (tmp_path / "run").exists()


class World:
    """Versions of owners' things, written by one thread for each owner and read by all."""

    OWNERS = range(4)
    ROUNDS = 500

    def __init__(self, layers):
        self.layers = layers
        self.versions = dict.fromkeys(self.OWNERS, 0)
        self.ended = False

    def read(self, layer, owner, number):
        found, thing, version = new_cache(layer).get_or_load(
            (owner, number), lambda: [owner, number, self.versions[owner]], tags=(f"o{owner}",)
        )
        assert (found, thing) == (owner, number)
        return version

    def goes_on(self):
        """A condition: everybody has written since now, or has lived to the end."""
        before = dict(self.versions)
        return lambda: self.ended or all(self.versions[o] > before[o] for o in self.OWNERS)

    def is_seen_as_it_is(self, layer):
        return all(
            self.read(layer, owner, number) == self.versions[owner]
            for owner in self.OWNERS
            for number in range(5)
        )

    def live(self, owner):
        """Write, read one's own at once, and read everybody's."""
        rng = random.Random(owner)
        for _ in range(self.ROUNDS):
            number = rng.randrange(5)
            if rng.random() < 0.2:
                self.versions[owner] += 1
                invalidate(tags=[f"o{owner}"], layer=self.layers[0])
            assert self.read(self.layers[0], owner, number) == self.versions[owner]
            for layer in self.layers:
                self.read(layer, rng.choice(self.OWNERS), number)
        self.ended = True
        return True


def test_no_owner_meets_another_s_or_his_own_old_things_while_the_server_comes_and_goes(
    process, mortal
):
    world = World([process(local_ttl=0.5) for _ in range(2)])
    with ThreadPoolExecutor(max_workers=len(world.OWNERS)) as threads:
        lives = [threads.submit(world.live, owner) for owner in world.OWNERS]
        for _ in range(3):
            until(world.goes_on(), "life goes on")
            mortal.kill()
            until(world.goes_on(), "it does so without the server")
            mortal.start()
        assert all(life.result() for life in lives)
    for layer in world.layers:
        until(partial(world.is_seen_as_it_is, layer), "everybody sees the last versions")


def test_many_keys_are_deleted_in_bounded_pieces(process, mortal):
    layer = process()
    values = new_cache(layer)
    keys = [values.key((number,)) for number in range(3_000)]
    layer.remote.call(*[("SET", key, "x") for key in keys])
    layer.remote.call(("SET", "another", "x"))
    glob = pattern(layer.settings.prefix, "things")
    assert max(map(len, layer.remote.scan(glob, count=SCAN_COUNT))) <= SCAN_COUNT
    before = mortal.ask("INFO", "commandstats")["cmdstat_scan"]["calls"]
    assert delete_matching(glob, layer=layer) == 3_000
    calls = mortal.ask("INFO", "commandstats")
    assert calls["cmdstat_scan"]["calls"] - before >= 3_000 / SCAN_COUNT
    assert "cmdstat_keys" not in calls
    assert mortal.ask("DBSIZE") == 1


def test_background_loads_of_many_stale_values_are_bounded(process):
    layer = process()
    values = new_cache(layer, Policy(ttl=0.001, stale_for=60, remote=False))
    for number in range(100):
        values.get_or_load((number,), lambda: "old")
    gate, under_way = threading.Event(), []

    def load():
        under_way.append(1)
        assert gate.wait(10)
        return "new"

    # Fresh for a millisecond; long before a hundred have been asked for, they are stale.
    until(lambda: values.get_or_load((0,), load) and under_way, "the first is loaded anew")
    for number in range(100):
        assert values.get_or_load((number,), load) == "old"
    until(lambda: len(under_way) > 10, "several are loaded at once")
    assert len(under_way) <= 16
    gate.set()
    until(lambda: values.get_or_load((99,), lambda: "new") == "new", "the others' turn comes")
