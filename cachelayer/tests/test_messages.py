"""How processes hear of each other's invalidations, and how little it takes to go on hearing."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgpack
import pytest
import redis
from prometheus_client import CollectorRegistry

from cachelayer import messages
from cachelayer.conf import CacheSettings
from cachelayer.invalidation import invalidate
from cachelayer.keys import tag_key
from cachelayer.layer import Layer
from cachelayer.policy import Policy
from cachelayer.tests.servers import until
from cachelayer.tiered import TieredCache

pytestmark = pytest.mark.xdist_group("valkey")

NAMES = {"cache-invalidation", "cache-messages"}


def threads():
    return {thread for thread in threading.enumerate() if thread.name in NAMES}


def listening(layer):
    layer.messages.listen()
    assert layer.messages.connected.wait(5)
    return layer


def read(layer, value, tag="t"):
    values = TieredCache("things", Policy(ttl=60), layer=lambda: layer)
    return values.get_or_load((tag,), lambda: value, tags=(tag,))


def hang_up_on_listeners(server):
    return server.ask("CLIENT", "KILL", "TYPE", "pubsub")


class GatedRedis(redis.Redis):
    """A client that holds back what is to be published while the gate is closed."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.gate = threading.Event()
        self.gate.set()
        self.held = threading.Event()
        self.error = None

    def pipeline(self, transaction=True, shard_hint=None):
        pipeline = super().pipeline(transaction, shard_hint)
        execute = pipeline.execute

        def gated(raise_on_error=True):
            if any(command[0][0] == "PUBLISH" for command in pipeline.command_stack):
                self.held.set()
                assert self.gate.wait(10)
                if self.error:
                    error, self.error = self.error, None
                    raise error
            return execute(raise_on_error)

        vars(pipeline)["execute"] = gated
        return pipeline


@pytest.fixture
def gated(valkey, request):
    """A layer whose client can hold back messages, and that client."""
    client = GatedRedis(port=valkey.port, socket_timeout=1)
    layer = Layer(
        CacheSettings(prefix=request.node.name, local_ttl=60),
        client=lambda: client,
        async_client=lambda: None,
        registry=CollectorRegistry(),
    )
    yield layer, client
    client.gate.set()
    layer.messages.stop()
    client.close()


@pytest.fixture
def heard(valkey, request):
    """Returns the tags of each message sent so far by the layer of `gated`."""
    with valkey.client() as client:
        client.connection_pool.connection_kwargs["decode_responses"] = False
        subscriber = client.pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe(f"{request.node.name}:invalidate")
        until(lambda: subscriber.get_message(timeout=0.1) is None, "subscribed")
        found = []

        def messages_so_far():
            while message := subscriber.get_message():
                found.append(sorted(msgpack.unpackb(message["data"])[1]))
            return found

        yield messages_so_far
        subscriber.close()


def test_a_layer_starts_no_thread_before_it_is_used(valkey, make_layer):
    before = threads()
    layer = make_layer(valkey)
    assert threads() == before
    read(layer, "value")
    read(layer, "value")
    assert [thread.name for thread in threads() - before] == ["cache-invalidation"]


def test_stop_ends_the_threads(valkey, make_layer):
    before = threads()
    layer = listening(make_layer(valkey))
    layer.messages.invalidate_soon(["t"])
    assert len(threads() - before) == 2
    layer.messages.stop()
    assert threads() == before


def test_stop_ends_the_threads_when_the_server_is_gone(mortal, make_layer):
    before = threads()
    layer = listening(make_layer(mortal))
    layer.messages.invalidate_soon(["t"])
    mortal.kill()
    layer.messages.stop()
    assert threads() == before


def test_stop_of_a_layer_that_was_never_used_does_nothing(valkey, make_layer):
    make_layer(valkey).messages.stop()


def test_stop_sends_what_is_posted(gated, heard):
    layer, client = gated
    client.gate.clear()
    layer.messages.invalidate_soon(["first"])
    assert client.held.wait(5)
    layer.messages.invalidate_soon(["second"])
    stopping = threading.Thread(target=layer.messages.stop)
    stopping.start()
    client.gate.set()
    stopping.join(10)
    assert until(lambda: heard()[1:]) == [["second"]]


def test_what_is_posted_while_a_message_is_under_way_goes_into_one_more(gated, heard):
    layer, client = gated
    client.gate.clear()
    layer.messages.invalidate_soon(["t"])
    assert client.held.wait(5)
    for _ in range(100):
        layer.messages.invalidate_soon(["t", "u"])
    client.gate.set()
    until(lambda: len(heard()) > 1, "both messages arrived")
    layer.messages.stop()
    assert heard() == [["t"], ["t", "u"]]


def test_no_tag_is_lost_however_many_threads_post(gated, heard):
    layer, _ = gated
    tags = {f"tag{number}" for number in range(2000)}
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda tag: layer.messages.invalidate_soon([tag]), tags))
    until(lambda: {tag for message in heard() for tag in message} == tags, "every tag arrived")


def test_a_sender_that_met_an_unforeseen_error_goes_on_and_loses_no_tag(gated, heard, caplog):
    layer, client = gated
    client.error = KeyError("a bug")
    read(layer, "old")
    before = client.get(tag_key(layer.settings.prefix, "t"))
    layer.messages.invalidate_soon(["t"])
    until(lambda: layer.tags.known(()) is None, "the tag is known to be unsent")
    assert heard() == []
    layer.messages.invalidate_soon(["u"])
    until(lambda: heard() == [["t", "u"]], "the next message is about both")
    until(lambda: layer.tags.known(()) == [], "nothing is unsent")
    assert read(layer, "new") == "new"
    assert client.get(tag_key(layer.settings.prefix, "t")) != before
    assert "a bug" in caplog.text


def test_a_server_that_refuses_the_new_generation_counts_as_not_told(mortal, make_layer):
    layer = listening(make_layer(mortal, breaker_reset=60))
    mortal.ask("CONFIG", "SET", "maxmemory", 1)
    layer.messages.invalidate_soon(["t"])
    until(lambda: layer.tags.known(()) is None, "the tag is known to be unsent")


def test_an_older_message_does_not_bring_back_what_was_invalidated_since(gated, valkey, make_layer):
    layer, client = gated
    listening(layer)
    assert read(layer, "old") == "old"
    client.gate.clear()
    layer.messages.invalidate_soon(["t"])
    assert client.held.wait(5)
    # Another process's message about the same tag, from before, arrives only now.
    invalidations = layer.messages.command(tags=["t", "seen"])
    layer.tags.bump(["seen"])
    valkey.ask(*invalidations)
    until(lambda: layer.tags.known(["seen"]) is None, "the message was heard")
    assert read(layer, "new") == "new"


def test_what_was_heard_while_sending_is_asked_for_afterwards(gated, valkey):
    layer, client = gated
    listening(layer)
    client.gate.clear()
    layer.messages.invalidate_soon(["t"])
    assert client.held.wait(5)
    layer.tags.bump(["seen"])
    valkey.ask(*layer.messages.command(tags=["t", "seen"]))
    until(lambda: layer.tags.known(["seen"]) is None, "the message was heard")
    assert layer.tags.known(["t"])
    client.gate.set()
    until(lambda: layer.tags.known(["t"]) is None, "the generation is asked for again")


def test_what_could_not_be_sent_is_sent_although_nobody_reads(mortal, make_layer):
    one = make_layer(mortal, breaker_failures=1, breaker_reset=0.05)
    two = listening(make_layer(mortal, local_ttl=0.1))
    assert read(two, "old") == "old"
    mortal.pause()
    one.messages.invalidate_soon(["t"])
    until(lambda: one.tags.known(()) is None, "it could not be sent")
    mortal.resume()
    until(lambda: read(two, "new") == "new", "the other process serves the new value")


def test_a_listener_that_is_hung_up_on_hears_again_and_forgets(valkey, make_layer):
    one, two = (listening(make_layer(valkey, local_ttl=60)) for _ in range(2))
    read(two, "old")
    one.remote.call(*one.tags.bump(["t"]))  # as an invalidation whose message was lost
    assert read(two, "new") == "old"
    hang_up_on_listeners(valkey)
    until(lambda: read(two, "new") == "new", "it has forgotten")
    assert two.messages.connected.wait(5)
    invalidate(tags=["t"], layer=one)
    until(lambda: read(two, "newer") == "newer", "it hears again")


def test_a_listener_outlives_its_server(mortal, make_layer):
    one, two = (make_layer(mortal, local_ttl=60, breaker_reset=0.1) for _ in range(2))
    listening(two)
    mortal.kill()
    until(lambda: not two.messages.connected.is_set(), "it knows that it does not hear")
    mortal.start()
    assert two.messages.connected.wait(15)
    read(two, "old")
    until(lambda: invalidate(tags=["t"], layer=one), "the server is used again")
    until(lambda: read(two, "new") == "new", "it hears again")


def test_a_server_that_does_not_answer_is_noticed(mortal, make_layer, monkeypatch):
    monkeypatch.setattr(messages, "QUIET", 0.1)
    monkeypatch.setattr(messages, "ANSWER", 0.1)
    layer = listening(make_layer(mortal))
    mortal.pause()
    until(lambda: not layer.messages.connected.is_set(), "it knows that it does not hear")
    mortal.resume()
    assert layer.messages.connected.wait(15)


def test_a_quiet_connection_is_kept(valkey, make_layer, monkeypatch):
    monkeypatch.setattr(messages, "QUIET", 0.01)
    layer = listening(make_layer(valkey))
    connections = listeners(valkey)
    asked = pings(valkey)
    until(lambda: pings(valkey) > asked + 20, "it has asked many times")
    assert listeners(valkey) == connections
    assert layer.messages.connected.is_set()


def listeners(server):
    with server.client() as client:
        return {one["id"] for one in client.client_list(_type="pubsub")}


def subscribed_since(server, before):
    return listeners(server) - before


def pings(server):
    return server.ask("INFO", "commandstats").get("cmdstat_ping", {"calls": 0})["calls"]


def test_every_loss_of_the_connection_is_made_good_as_soon_as_the_first(
    valkey, make_layer, monkeypatch
):
    monkeypatch.setattr(messages, "FIRST_DELAY", 0.02)
    monkeypatch.setattr(messages, "LONGEST_DELAY", 1000)
    layer = listening(make_layer(valkey))
    for _ in range(12):
        before = listeners(valkey)
        hang_up_on_listeners(valkey)
        until(partial(subscribed_since, valkey, before), "it is subscribed anew", 5)
        until(layer.messages.connected.is_set, "it knows")


def test_reading_goes_on_when_no_thread_can_be_started(valkey, make_layer, monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    layer = make_layer(valkey)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert read(layer, "value") == "value"
        layer.messages.invalidate_soon(["t"])
    listening(layer)
