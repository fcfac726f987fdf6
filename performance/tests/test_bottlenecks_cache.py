"""What limits web processes by their cache is named: Valkey, or what is not in it."""

import pytest
from prometheus_client import CollectorRegistry

from cachelayer.conf import CacheSettings
from cachelayer.layer import Layer, cache_layer
from cachelayer.remote import Unavailable
from performance.analysis.bottlenecks.analyser import analyse
from performance.analysis.bottlenecks.evidence import WINDOWS
from performance.recorders.cache import CacheSampler, remote_answered
from performance.recorders.pools import PoolSampler, waits
from performance.recording.process import buffer
from performance.tests.bottlenecked import found, late, names, older, process, proof, requested
from performance.tests.telling import forget

pytestmark = pytest.mark.django_db

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(waits, "role", "web")
    forget()


@pytest.fixture
def layer():
    """A layer whose server is away; its breaker opens at once."""

    def no_server():
        raise ConnectionError("nobody there")

    settings = CacheSettings(breaker_failures=1, breaker_reset=60)
    registry = CollectorRegistry()
    return Layer(settings, client=no_server, async_client=no_server, registry=registry)


def test_a_slow_valkey_is_named_when_requests_wait_for_it():
    for _ in range(100):
        remote_answered(0.03)
    requested(100, 50.0, cache=30.0)
    process()
    assert names() == ["valkey"]
    one = found("valkey")
    assert one.severity == pytest.approx(0.56, abs=0.05)
    assert "SLOWLOG" in one.change.how


def test_a_quick_valkey_is_no_limit_although_requests_do_nothing_else():
    for _ in range(100):
        remote_answered(0.0005)
    requested(100, 0.6, cache=0.5)
    process()
    assert names() == []


def test_callers_that_wait_for_a_connection_to_valkey_need_a_larger_pool():
    for _ in range(100):
        remote_answered(0.03)
    requested(100, 50.0, cache=30.0)
    cache_layer().remote.call(("PING",))
    PoolSampler("web").sample()
    (pool,) = {one for one in pools_of_valkey()}
    buffer.count("pool.wait", pool, 100, 2900)
    process()
    change = found("valkey").change
    assert change.setting == "REDIS_MAX_CONNECTIONS"
    assert change.wanted > change.present


def pools_of_valkey():
    sampled = PoolSampler("web")
    sampled.sample()
    return [one["key"] for one in buffer._values["pools"]["pools"] if "Valkey" in one["key"]]


def test_valkey_that_is_away_costs_what_is_loaded_instead(layer):
    sampler = CacheSampler(layer)
    with pytest.raises(Unavailable):
        layer.remote.call(("PING",))
    space = layer.stats.of("jobs")
    space.local.misses, space.local.loads, space.local.load_seconds = 100, 100, 4.0
    sampler.sample()
    requested(100, 50.0)
    process()
    one = found("valkey")
    assert proof(one, "Processes that cannot reach it") == 1
    assert one.severity == pytest.approx(0.8)
    assert "Start Valkey" in one.change.how


def test_one_process_of_many_that_cannot_reach_valkey_loads_its_share_only(layer):
    states = [{"breaker": "open", "most_bytes": 1, "entries": 1}]
    states += [{"breaker": "closed", "most_bytes": 1, "entries": 1}] * 3
    buffer.count("cache.local.loads", "jobs", 100, 4000.0)
    requested(100, 50.0)
    for number, state in enumerate(states):
        buffer.publish("cache", state)
        process(f"web/{number}")
    assert found("valkey").severity == pytest.approx(0.8 / 4)


def test_what_was_loaded_an_hour_ago_is_not_the_doing_of_a_valkey_that_is_away_now():
    buffer.count("cache.local.loads", "jobs", 100, 4000.0)
    requested(100, 50.0)
    process()
    older(30)
    buffer.publish("cache", {"breaker": "open", "most_bytes": 1, "entries": 1})
    process()
    assert not [one for one in analyse(WINDOWS["1h"]).found if one.name == "valkey"]


def cached(layer, *, hits, misses, seconds, again=None, namespace="jobs", **counters):
    """Reads of a namespace whose misses were loaded, all of them `again` unless told."""
    sampler = CacheSampler(layer)
    space = layer.stats.of(namespace)
    space.local.hits, space.local.misses = hits, misses
    space.local.loads, space.local.load_seconds = misses, seconds
    space.local.reloads = misses if again is None else again
    for name, number in counters.items():
        setattr(space.local, name, number)
    sampler.sample()


def test_misses_that_expired_want_a_longer_life(layer):
    cached(layer, hits=20, misses=80, seconds=4.0)
    requested(100, 50.0)
    process()
    one = found("cache_misses")
    # Three quarters of the loads would have been hits of a cache that hits four times in five.
    assert one.severity == pytest.approx(0.6)
    assert one.change.setting == "CACHE_DEFAULT_TTL"
    assert one.change.wanted == 4 * one.change.present


def test_misses_that_were_evicted_want_room(layer):
    cached(layer, hits=20, misses=80, seconds=4.0, evictions=70)
    requested(100, 50.0)
    process()
    change = found("cache_misses").change
    assert change.setting == "CACHE_MAX_MEMORY_SIZE"
    assert change.wanted == 4 * change.present == 400 * MIB


def test_misses_that_were_invalidated_want_no_setting(layer):
    cached(layer, hits=20, misses=80, seconds=4.0, invalidations=75)
    requested(100, 50.0)
    process()
    change = found("cache_misses").change
    assert change.setting == ""
    assert "invalidated nearly as often as it is read" in change.how


def test_what_nobody_has_asked_for_before_is_no_miss_that_could_be_saved(layer):
    cached(layer, hits=20, misses=80, seconds=4.0, again=4)
    requested(100, 50.0)
    process()
    assert names() == []


def test_what_workers_wait_for_costs_the_users_nothing(layer):
    cached(layer, hits=20, misses=80, seconds=4.0, namespace="robots")
    requested(100, 50.0)
    process()
    assert names() == []
    for _ in range(100):
        buffer.record("attempt.wait", "workers", 10.0)
        buffer.record("attempt.run", "succeeded", 40.0)
    process()
    one = found("cache_misses")
    assert (one.whose, one.severity) == ("jobs", pytest.approx(0.6))


def test_only_what_is_loaded_again_counts(layer):
    cached(layer, hits=20, misses=80, seconds=4.0, again=32)
    requested(100, 50.0)
    process()
    assert found("cache_misses").severity == pytest.approx(0.32)


def test_a_cache_that_hits_is_no_limit_though_its_loads_are_slow(layer):
    cached(layer, hits=90, misses=10, seconds=4.0)
    requested(100, 50.0)
    process()
    assert names() == []


def test_what_a_busy_process_makes_calls_wait_is_not_the_doing_of_valkey(cores):
    cores(8)
    for _ in range(100):
        remote_answered(0.03)
    requested(100, 50.0, cache=30.0, lag=29.0)
    late(29, 100)
    process()
    assert names() == ["web_cpu"]
