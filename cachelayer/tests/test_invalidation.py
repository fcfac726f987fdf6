"""What one process invalidates, no process serves."""

import threading

import msgpack
import pytest

from cachelayer.invalidation import ainvalidate, delete_matching, invalidate
from cachelayer.keys import pattern
from cachelayer.policy import Policy
from cachelayer.tests.servers import until
from cachelayer.tiered import TieredCache

pytestmark = pytest.mark.xdist_group("valkey")


def new_cache(layer, policy=None):
    return TieredCache("things", policy or Policy(ttl=60), layer=lambda: layer)


@pytest.fixture
def one(valkey, make_layer):
    return listening(make_layer(valkey, local_ttl=60))


@pytest.fixture
def two(valkey, make_layer):
    return listening(make_layer(valkey, local_ttl=60))


def listening(layer):
    layer.messages.listen()
    assert layer.messages.connected.wait(5)
    return layer


def read(layer, value, *, tags=("t",), parts=(1,)):
    return new_cache(layer).get_or_load(parts, lambda: value, tags=tags)


def test_a_bumped_tag_ends_a_value_in_this_process_at_once(one):
    assert read(one, "old") == "old"
    assert invalidate(tags=["t"], layer=one)
    assert read(one, "new") == "new"


def test_a_bumped_tag_ends_a_value_in_other_processes(one, two):
    assert read(one, "old") == "old"
    assert read(two, "other") == "old"
    invalidate(tags=["t"], layer=one)
    until(lambda: read(two, "new") == "new", "the other process has heard")


def test_a_tag_ends_every_value_that_carries_it_and_no_other(one):
    for part, tags in (("a", ["x"]), ("b", ["x", "y"]), ("c", ["y"])):
        read(one, "old", parts=(part,), tags=tags)
    invalidate(tags=["x"], layer=one)
    assert read(one, "new", parts=("a",), tags=["x"]) == "new"
    assert read(one, "new", parts=("b",), tags=["x", "y"]) == "new"
    assert read(one, "new", parts=("c",), tags=["y"]) == "old"


def test_a_deleted_key_is_gone_in_all_processes(one, two):
    key = new_cache(one).key((1,))
    read(one, "old", tags=())
    assert read(two, "x", tags=()) == "old"
    invalidate(keys=[key], layer=one)
    assert read(one, "new", tags=()) == "new"
    until(lambda: read(two, "x", tags=()) == "new", "the other process has heard")


def test_a_coroutine_invalidates_for_everybody(one, two, run):
    read(two, "old")
    assert run(ainvalidate(tags=["t"], layer=one))
    until(lambda: read(two, "new") == "new", "the other process has heard")


def test_an_invalidation_that_nobody_waits_for_arrives_too(one, two):
    read(one, "old")
    read(two, "old")
    one.messages.invalidate_soon(["t"])
    assert read(one, "new") == "new"
    until(lambda: read(two, "newer") != "old", "the other process has heard")


def test_a_value_loaded_before_an_invalidation_is_not_kept_after_it(one):
    loading, go_on = threading.Event(), threading.Event()

    def load():
        loading.set()
        assert go_on.wait(5)
        return "old"

    values = new_cache(one)
    reader = threading.Thread(target=values.get_or_load, args=((1,), load), kwargs={"tags": ["t"]})
    reader.start()
    assert loading.wait(5)
    invalidate(tags=["t"], layer=one)
    go_on.set()
    reader.join()
    assert read(one, "new") == "new"


def test_a_value_without_tags_loaded_before_its_deletion_is_not_kept_in_memory(one):
    values = new_cache(one, Policy(ttl=60, remote=False))

    def load():
        invalidate(keys=[values.key((1,))], layer=one)
        return "old"

    values.get_or_load((1,), load)
    assert values.get_or_load((1,), lambda: "new") == "new"


def test_a_generation_that_valkey_lost_ends_the_values_under_it(valkey, make_layer):
    one, two = (make_layer(valkey, local_ttl=60) for _ in range(2))
    read(one, "old")
    one.remote.call(("DEL", f"{one.settings.prefix}:@tag:t"))
    assert read(two, "new") == "new"


def test_a_flushed_server_costs_a_load_and_no_error(one, valkey, make_layer):
    read(one, "old")
    one.remote.call(("FLUSHALL",))
    assert read(make_layer(valkey), "new") == "new"


@pytest.mark.parametrize("data", [b"", b"garbage", msgpack.packb([1]), msgpack.packb({"a": 1})])
def test_a_message_that_is_none_of_ours_is_ignored_and_counted(one, two, data):
    read(two, "old")
    one.remote.call(("PUBLISH", f"{one.settings.prefix}:invalidate", data))
    until(lambda: two.stats.of("all").remote.corrupt == 1, "the message was counted")
    invalidate(tags=["t"], layer=one)
    until(lambda: read(two, "new") == "new", "the listener still listens")


def test_operators_delete_by_pattern_and_all_processes_forget(one, two):
    for layer in (one, two):
        read(layer, "old", tags=())
    TieredCache("others", Policy(ttl=60), layer=lambda: one).get_or_load((1,), lambda: "kept")
    assert delete_matching(pattern(one.settings.prefix, "things"), layer=one) == 1
    assert read(one, "new", tags=()) == "new"
    until(lambda: read(two, "x", tags=()) == "new", "the other process has heard")
    others = TieredCache("others", Policy(ttl=60), layer=lambda: one)
    assert others.get_or_load((1,), lambda: "lost") == "kept"


def test_what_could_not_be_sent_goes_with_the_next_invalidation(mortal, make_layer):
    one, two = (make_layer(mortal, local_ttl=60, breaker_reset=0.05) for _ in range(2))
    read(two, "old", tags=["a"])
    mortal.pause()
    assert not invalidate(tags=["a"], layer=one)
    mortal.resume()
    until(lambda: invalidate(tags=["b"], layer=one), "the server is back")
    two.local.clear()
    two.tags.forget_all()
    assert read(two, "new", tags=["a"]) == "new"


def test_asking_for_one_tag_does_not_undo_a_bump_of_another_that_is_not_sent_yet(one):
    assert read(one, "old", tags=["t", "u"]) == "old"
    one.tags.bump(["t"])
    one.tags.forget(["u"])
    assert read(one, "new", tags=["t", "u"]) == "new"


def test_what_a_process_knows_of_tags_is_bounded(one, monkeypatch):
    monkeypatch.setattr("cachelayer.tags.MOST_KNOWN", 10)
    for n in range(50):
        read(one, "x", parts=(n,), tags=[f"t{n}"])
    assert sum(one.tags.known([f"t{n}"]) is not None for n in range(50)) <= 11
