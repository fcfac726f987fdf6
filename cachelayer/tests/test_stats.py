"""Counters, and how they reach Prometheus and a watcher."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cachelayer.stats import MOST_NAMESPACES, OVERFLOW, Event, Stats

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def stats(registry):
    return Stats(registry)


def test_a_namespace_has_one_set_of_counters(stats):
    assert stats.of("jobs") is stats.of("jobs")
    assert stats.of("jobs") is not stats.of("pages")


def test_a_snapshot_is_plain_data_by_namespace_and_level(stats):
    stats.of("jobs").local.hits += 2
    stats.of("jobs").remote.load_seconds += 0.5
    found = stats.snapshot()
    assert found["jobs"]["local"]["hits"] == 2
    assert found["jobs"]["remote"]["load_seconds"] == 0.5
    assert found["jobs"]["remote"]["hits"] == 0


def test_a_snapshot_does_not_change_later(stats):
    found = stats.snapshot()
    before = stats.of("jobs").local
    taken = stats.snapshot()
    before.hits += 1
    assert found == {}
    assert taken["jobs"]["local"]["hits"] == 0


def test_a_misspelt_counter_is_an_error(stats):
    with pytest.raises(AttributeError):
        stats.of("jobs").local.hit = 1


@pytest.mark.parametrize(
    "name", ["hits", "misses", "sets", "evictions", "stale_serves", "loads", "load_seconds"]
)
def test_publishing_brings_a_counter_to_prometheus(stats, registry, name):
    labels = {"level": "local", "namespace": "jobs"}
    setattr(stats.of("jobs").local, name, 3)
    stats.publish()
    assert registry.get_sample_value(f"cache_{name}_total", labels) == 3


@pytest.mark.parametrize(
    ("name", "kind"), [("errors", "failed"), ("corrupt", "corrupt"), ("too_large", "too_large")]
)
def test_failures_are_published_by_kind(stats, registry, name, kind):
    labels = {"level": "remote", "namespace": "jobs", "kind": kind}
    setattr(stats.of("jobs").remote, name, 2)
    stats.publish()
    assert registry.get_sample_value("cache_errors_total", labels) == 2


def test_publishing_twice_counts_once(stats, registry):
    labels = {"level": "local", "namespace": "jobs"}
    for _ in range(2):
        stats.of("jobs").local.hits += 1
        stats.publish()
        stats.publish()
    assert registry.get_sample_value("cache_hits_total", labels) == 2


def test_several_layers_of_a_process_add_up(registry):
    for _ in range(2):
        stats = Stats(registry)
        stats.of("jobs").local.hits += 1
        stats.publish()
    labels = {"level": "local", "namespace": "jobs"}
    assert registry.get_sample_value("cache_hits_total", labels) == 2


def test_label_values_are_bounded(stats):
    for number in range(MOST_NAMESPACES + 50):
        stats.of(f"made-up-{number}").local.hits += 1
    found = stats.snapshot()
    assert len(found) == MOST_NAMESPACES + 1
    assert found[OVERFLOW]["local"]["hits"] == 50


@pytest.mark.parametrize(("state", "value"), [("open", 1), ("half-open", 1), ("closed", 0)])
def test_the_breakers_state_is_published_at_once(stats, registry, state, value):
    stats.breaker_changed(state)
    assert registry.get_sample_value("cache_breaker_open") == value


def test_a_watcher_hears_of_events(stats):
    events: list[Event] = []
    stats.subscribe(events.append)
    stats.notify("corrupt", namespace="jobs", reason="the checksum differs")
    stats.breaker_changed("open")
    assert events == [
        Event("corrupt", "jobs", {"reason": "the checksum differs"}),
        Event("breaker", "", {"state": "open"}),
    ]


def test_a_watcher_that_fails_disturbs_nobody(stats):
    def failing(event):
        raise RuntimeError

    events: list[Event] = []
    stats.subscribe(failing)
    stats.subscribe(events.append)
    stats.notify("too_large", namespace="jobs", size=1)
    assert len(events) == 1
    assert stats.callback_errors == 1


PUBLISH = """
from cachelayer.stats import Stats
stats = Stats()
stats.of("jobs").local.hits += 2
stats.breaker_changed("open")
stats.publish()
"""
COLLECT = """
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
labels = {"level": "local", "namespace": "jobs"}
print(registry.get_sample_value("cache_hits_total", labels))
print(registry.get_sample_value("cache_breaker_open"))
"""


def test_processes_add_up_in_multiprocess_mode(tmp_path):
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def run(script):
        command = [sys.executable, "-c", script]
        return subprocess.run(command, env=environ, check=True, capture_output=True, text=True)

    run(PUBLISH)
    run(PUBLISH)
    assert run(COLLECT).stdout.split() == ["4.0", "2.0"]
