"""What callers notice of a server that is lost, hangs, forgets or holds planted bytes: nothing."""

import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from cachelayer import tiered
from cachelayer.codec import Entry, encode
from cachelayer.conf import CacheSettings
from cachelayer.invalidation import SCAN_COUNT, delete_matching, invalidate
from cachelayer.keys import lock_key, pattern, tag_key
from cachelayer.layer import ClientsByLoop, Layer
from cachelayer.pools import parse, sync
from cachelayer.tests.servers import until
from cachelayer.tiered import Policy, TieredCache

pytestmark = pytest.mark.xdist_group("valkey")

# As in production, but for times that a test can wait for.
POOL = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2, "timeout": 0.5, "retries": 0}
QUICK = {"breaker_failures": 2, "breaker_reset": 0.05, "ttl_jitter": 0}
FAULTS = {
    "killed": lambda server: server.kill(),
    "paused": lambda server: server.pause(),
    "restarted": lambda server: server.restart(),
    "flushed": lambda server: server.ask("FLUSHALL"),
}


@pytest.fixture
def process(mortal):
    """Makes processes, each on pools of its own as in production."""
    made = []
    prefix = f"faults-{uuid4().hex[:8]}"

    def make(**settings):
        client = sync.connect(parse(mortal.url), POOL, {})
        clients = ClientsByLoop(POOL)
        layer = Layer(
            CacheSettings(prefix=prefix, **QUICK | settings),
            client=lambda: client,
            async_client=lambda: clients.of(mortal.url),
            registry=CollectorRegistry(),
        )
        vars(layer)["close_async"] = clients.close
        layer.messages.listen()
        assert layer.messages.connected.wait(5)
        made.append((layer, client))
        return layer

    yield make
    mortal.kill()  # a listener that waits for a paused server hears of its end
    for layer, client in made:
        layer.messages.stop()
        client.connection_pool.close()


def new_cache(layer, policy=None):
    return TieredCache("things", policy or Policy(ttl=60), layer=lambda: layer)


def read(layer, value, *, tags=("t",), parts=(1,)):
    return new_cache(layer).get_or_load(parts, lambda: value, tags=tags)


def lose(layer, server):
    """Pause the server and let the layer find out, so that it sends nothing more."""
    server.pause()
    numbers = iter(range(100))
    until(
        lambda: (
            read(layer, "x", parts=("lost", next(numbers)), tags=())
            and layer.remote.breaker.state == "open"
        ),
        "the breaker is open",
    )


def errors(layer):
    return layer.stats.of("all").remote.errors


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


def test_level_1_serves_no_longer_than_its_time_when_no_invalidation_arrives(process, mortal):
    one, two = (process(local_ttl=0.3) for _ in range(2))
    for layer in (one, two):
        assert read(layer, "old") == "old"
    mortal.kill()
    assert not invalidate(tags=["t"], layer=one)
    assert read(one, "new") == "new"
    until(lambda: read(two, "new") == "new", "the other process's time is up", 5)


@pytest.mark.parametrize("soon", [False, True])
def test_what_was_invalidated_meanwhile_is_not_served_from_level_2_afterwards(
    soon, process, mortal
):
    one = process(local_ttl=60, breaker_reset=0.5)
    assert read(one, "old") == "old"
    lose(one, mortal)
    if soon:
        one.messages.invalidate_soon(["t"])
        until(lambda: one.tags.known(()) is None, "it could not be sent")
    else:
        assert not invalidate(tags=["t"], layer=one)
    assert read(one, "new") == "new"
    mortal.resume()
    for _ in range(3):
        one.local.clear()
        one.tags.forget_all()
        assert read(one, "new") == "new"
    until(lambda: read(one, "new") and one.tags.known(()) == [], "it was sent")
    assert read(process(), "newer") in ("new", "newer")


def test_a_key_invalidated_meanwhile_is_not_served_from_level_2_afterwards(process, mortal):
    one = process(local_ttl=60, breaker_reset=0.5)
    assert read(one, "old", tags=()) == "old"
    lose(one, mortal)
    assert not invalidate(keys=[new_cache(one).key((1,))], layer=one)
    mortal.resume()
    numbers = iter(range(10_000))
    until(
        lambda: (
            read(one, "other", parts=("other", next(numbers)), tags=())
            and one.remote.breaker.state == "closed"
        ),
        "level 2 is used again",
    )
    assert read(one, "new", tags=()) == "new"


def test_a_process_that_reads_nothing_sends_its_invalidations_afterwards(process, mortal):
    one, two = process(breaker_reset=0.5), process(local_ttl=0.1)
    assert read(two, "old") == "old"
    lose(one, mortal)
    assert not invalidate(tags=["t"], layer=one)
    mortal.resume()
    until(lambda: read(two, "new") == "new", "the other process asked level 2 anew", 5)


def test_an_invalidation_that_a_full_server_refuses_is_sent_later(process, mortal):
    one = process()
    assert read(one, "old") == "old"
    mortal.ask("CONFIG", "SET", "maxmemory", 1)
    assert not invalidate(tags=["t"], layer=one)
    one.tags.forget_all()
    assert read(one, "new") == "new"


@pytest.mark.parametrize("change", ["bump", "forget", "forget_all"])
def test_an_answer_that_was_under_way_does_not_undo_an_invalidation(change, process):
    one, two = process(local_ttl=60), process(local_ttl=60)
    read(one, "old")
    one.tags.forget_all()
    asking = one.tags.learn(["t"])
    replies = one.remote.call(*next(asking))  # the server answers with the old generation,
    if change == "bump":  # and before the answer is taken note of the tag is invalidated
        invalidate(tags=["t"], layer=one)
    else:
        two.remote.call(*two.tags.bump(["t"]))
        one.tags.forget(["t"]) if change == "forget" else one.tags.forget_all()
    with pytest.raises(StopIteration):
        asking.send(replies)
    assert read(one, "new") == "new"


def test_an_invalidation_that_failed_while_an_older_one_was_sent_is_sent_too(process):
    one = process()
    one.tags.failed_to_send(["t"])
    asking = one.tags.learn(["t"])
    replies = one.remote.call(*next(asking))
    one.tags.failed_to_send(["t"])
    asking.send(replies)
    assert one.tags.known(()) is None


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
    for number, planted in enumerate(planted_bytes(tmp_path / "run")):
        before = layer.stats.of("things").remote.corrupt
        layer.remote.call(("SET", new_cache(layer).key((number,)), planted))
        assert read(layer, number, parts=(number,), tags=()) == number
        assert layer.stats.of("things").remote.corrupt > before
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
    monkeypatch.setattr(tiered, "LONGEST_LOAD", 0.1)
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


def test_a_process_that_reads_nothing_deletes_afterwards_what_it_could_not_delete(process, mortal):
    one, two = process(breaker_reset=0.2), process(local_ttl=0.1)
    assert read(two, "old", tags=()) == "old"
    lose(one, mortal)
    assert not invalidate(keys=[new_cache(one).key((1,))], layer=one)
    mortal.resume()
    until(lambda: read(two, "new", tags=()) == "new", "the key is gone from level 2", 5)
