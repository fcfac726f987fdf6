"""What the cache layer counts reaches the console, and so does what level 2 takes of a request."""

import pytest
from prometheus_client import CollectorRegistry

from cachelayer.conf import CacheSettings
from cachelayer.layer import Layer, cache_layer
from cachelayer.remote import Unavailable
from performance.api.caching import LIVE
from performance.cards.cache import CacheCard
from performance.cards.shapes import Level
from performance.entry import Name
from performance.metrics.queue import LATELY
from performance.models import Value
from performance.recorders.cache import CacheSampler, remote_answered
from performance.recording.process import buffer
from performance.recording.rescue import unobserved
from performance.recording.watch import Watch, current
from performance.storage.reading import Scope
from performance.tests.telling import cells, fact, forget, recorded, tell

pytestmark = pytest.mark.django_db


def no_server():
    raise ConnectionError("nobody there")


@pytest.fixture(autouse=True)
def _empty():
    forget()


@pytest.fixture
def layer():
    """A layer whose server is away; its breaker opens at once."""
    settings = CacheSettings(breaker_failures=1, breaker_reset=60)
    registry = CollectorRegistry()
    return Layer(settings, client=no_server, async_client=no_server, registry=registry)


@pytest.fixture
def sampler(layer):
    """Watches that layer."""
    return CacheSampler(layer)


@pytest.fixture
def watch():
    """That of a request."""
    found = Watch()
    token = current.set(found)
    yield found
    current.reset(token)


def reads(layer, namespace="jobs", hits=0, misses=0, loads=0, seconds=0.0, remote_hits=0):
    space = layer.stats.of(namespace)
    space.local.hits += hits
    space.local.misses += misses
    space.local.loads += loads
    space.local.load_seconds += seconds
    space.remote.hits += remote_hits
    space.remote.misses += misses - remote_hits


def content():
    return CacheCard().content(Scope())


def test_what_is_new_is_recorded_by_namespace_and_level(layer, sampler):
    reads(layer, hits=3, misses=2, remote_hits=1)
    sampler.sample()
    found = recorded()
    assert found[Name("cache.local.hits", "jobs")].count == 3
    assert found[Name("cache.remote.hits", "jobs")].count == 1
    reads(layer, hits=1)
    sampler.sample()
    assert recorded()[Name("cache.local.hits", "jobs")].count == 1


def test_when_nothing_was_read_nothing_is_recorded(layer, sampler):
    reads(layer, hits=3)
    sampler.sample()
    recorded()
    sampler.sample()
    assert recorded() == {}


def test_loads_are_recorded_with_the_milliseconds_they_took(layer, sampler):
    reads(layer, loads=2, seconds=0.5)
    sampler.sample()
    found = recorded()[Name("cache.local.loads", "jobs")]
    assert (found.count, found.sum) == (2, 500)


def test_what_the_console_caches_for_itself_is_not_looked_at(layer, sampler):
    for cache in (LATELY, LIVE):
        layer.stats.of(cache.namespace).local.misses += 1
    sampler.sample()
    assert recorded() == {}


def test_bytes_are_recorded_as_bytes(layer, sampler):
    layer.stats.of("jobs").remote.bytes_read += 4096
    sampler.sample()
    assert recorded()[Name("cache.remote.bytes_read", "jobs")].sum == 4096


def test_a_breaker_that_opens_is_told_at_once(layer, sampler):
    with pytest.raises(Unavailable):
        layer.remote.call(("PING",))
    found = buffer.take("")
    assert found.tallies[Name("cache.breaker", "open")].count == 1
    assert [one.key for one in found.samples] == ["open"]


def test_what_level_2_takes_is_a_part_of_the_request_that_waits(watch):
    remote_answered(0.005)
    remote_answered(0.002)
    assert watch.cache == pytest.approx(7)
    assert recorded()[Name("cache.call", "")].count == 2


def test_the_consoles_own_calls_are_not_counted(watch):
    with unobserved():
        remote_answered(0.005)
    assert watch.cache == 0
    assert recorded() == {}


def test_a_real_call_is_heard_by_the_request_that_makes_it(watch):
    remote = cache_layer().remote
    remote.listen(remote_answered)
    try:
        remote.call(("PING",))
    finally:
        remote._listeners.clear()
    assert 0 < watch.cache < watch.elapsed


def test_the_card_shows_what_both_levels_save(layer, sampler):
    reads(layer, hits=80, misses=20, remote_hits=15, loads=5, seconds=0.1)
    sampler.sample()
    tell("web/1")
    shown = content()
    assert fact(shown, "Hits").value == pytest.approx(95)
    assert fact(shown, "level 1").value == pytest.approx(80)
    assert fact(shown, "level 2").value == pytest.approx(75)
    (line,) = cells(shown, "loads")
    assert (line["mean"], line["saved"]) == (pytest.approx(20), pytest.approx(95 * 20))
    assert shown.health.level is Level.GREEN


def test_the_page_shows_what_the_card_has(admin_client, layer, sampler):
    reads(layer, hits=80, misses=20)
    sampler.sample()
    tell("web/1")
    page = admin_client.get("/admin/performance/cache/").content.decode()
    assert "By namespace and level" in page
    assert "failed:" not in page


def test_a_process_that_cannot_reach_level_2_is_red(layer, sampler):
    with pytest.raises(Unavailable):
        layer.remote.call(("PING",))
    sampler.sample()
    tell("web/1")
    shown = content()
    assert shown.health.level is Level.RED
    assert "web/1" in shown.health.reason
    assert [row["state"] for row in cells(shown, "events")] == ["open"]


def test_the_size_of_level_1_is_known_by_process(layer, sampler):
    sampler.sample()
    tell("web/1")
    (line,) = cells(content(), "processes")
    assert (line["process"], line["entries"], line["breaker"]) == ("web/1", 0, "closed")


def test_of_a_chosen_process_only_its_own_cache_is_shown(layer, sampler):
    served = Layer(
        CacheSettings(), client=no_server, async_client=no_server, registry=CollectorRegistry()
    )
    CacheSampler(served).sample()
    tell("web/2")
    with pytest.raises(Unavailable):
        layer.remote.call(("PING",))
    sampler.sample()
    tell("web/1")
    shown = CacheCard().content(Scope(instance="web/2"))
    assert [row["process"] for row in cells(shown, "processes")] == ["web/2"]
    assert shown.health
    assert shown.health.level is Level.GREEN


def test_hits_of_processes_that_are_silent_are_no_good_sign(layer, sampler):
    reads(layer, hits=80, misses=20)
    sampler.sample()
    tell("web/1")
    Value.objects.all().delete()
    shown = content()
    assert shown.health.level is Level.YELLOW
    assert fact(shown, "Hits").value == pytest.approx(80)


def test_without_any_process_the_card_says_what_to_do():
    assert "Start one" in content().empty
