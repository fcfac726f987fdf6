"""What a process has is told, and what it loses is found by its line."""

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import RequestFactory

from cachelayer.layer import cache_layer
from cachelayer.remote import Remote
from cachelayer.tests.servers import until
from performance.cards.memory import MemoryCard
from performance.cards.shapes import Level
from performance.models import Kind
from performance.profiling import objects
from performance.recorders import memory
from performance.recorders.garbage import GENERATIONS, Collections, collections
from performance.recorders.growth import (
    FIRST_AFTER,
    OUTSIDE,
    SECOND_AFTER,
    STEEP_READINGS,
    GrowthFinder,
    Held,
    difference,
    grouped,
    report,
)
from performance.recorders.memory import MemorySampler, Slope
from performance.recording.governor import Governor
from performance.recording.process import buffer
from performance.storage.reading import Scope
from performance.tests.faulty_site import KEPT, leaking
from performance.tests.telling import forget, tell

MIB = 1024 * 1024
KEY = "test:performance:tracing"


@pytest.fixture(autouse=True)
def _nothing_recorded():
    forget()


@pytest.fixture
def remote():
    remote = cache_layer().remote
    remote.call(("UNLINK", KEY))
    return remote


@pytest.fixture
def governor():
    return Governor(0.05)


@pytest.fixture
def finder(remote, governor):
    yield GrowthFinder(remote, KEY, governor, slope=30 * MIB)
    if tracemalloc.is_tracing():
        tracemalloc.stop()


def grow(finder, slope=100 * MIB, by=25 * MIB):
    """The readings of a process that grows so: a second apart, the last at 100."""
    finder.look(0.0, 100 * MIB, 0.0)
    for reading in range(STEEP_READINGS):
        finder.look(101.0 - STEEP_READINGS + reading, 100 * MIB + by, slope)


def suspects():
    return {one.key: one for one in buffer.take("").samples if one.type == Kind.MEMORY_GROWTH}


def test_a_handler_that_leaks_is_found_by_its_line(finder, governor):
    request = RequestFactory().get("/leaking?objects=300")
    grow(finder)
    assert finder.is_tracing
    leaking(request)
    finder.look(100 + FIRST_AFTER, 126 * MIB, None)
    leaking(request)
    finder.look(100 + SECOND_AFTER, 127 * MIB, None)
    KEPT.clear()
    found = suspects()
    line = leaking.__code__.co_firstlineno + 2
    leak = found[f"performance/tests/faulty_site.py:{line}"]
    # What was kept before the first snapshot may have been of use.
    assert 300_000 < leak.value < 600_000
    assert leak.document["objects"] >= 300
    assert leak.document["stack"][0] == f"performance/tests/faulty_site.py:{line}"
    assert not finder.is_tracing
    assert not tracemalloc.is_tracing()
    assert governor.spent > 0


@pytest.mark.parametrize(("slope", "by"), [(10 * MIB, 25 * MIB), (100 * MIB, 5 * MIB), (None, 0)])
def test_who_grows_slowly_or_little_is_not_traced(finder, slope, by):
    grow(finder, slope, by)
    assert not finder.is_tracing


def test_one_process_of_the_fleet_traces_at_a_time(finder, remote, governor):
    grow(finder)
    tracemalloc.stop()
    other = GrowthFinder(remote, KEY, governor, slope=30 * MIB)
    grow(other)
    assert not other.is_tracing


def test_who_is_watched_at_too_high_a_cost_is_not_traced(finder, governor):
    governor.share = 0.2
    grow(finder)
    assert not finder.is_tracing


def test_without_valkey_nobody_traces(governor):
    def nobody():
        raise ConnectionError

    layer = cache_layer()
    away = Remote(nobody, nobody, breaker=layer.remote.breaker, stats=layer.stats)
    finder = GrowthFinder(away, KEY, governor, slope=30 * MIB)
    grow(finder)
    layer.remote.breaker.succeeded()
    assert not finder.is_tracing


def test_a_process_rests_after_it_was_traced(finder, remote):
    grow(finder)
    finder.look(100 + FIRST_AFTER, 126 * MIB, None)
    finder.look(100 + SECOND_AFTER, 127 * MIB, None)
    remote.call(("UNLINK", KEY))
    for reading in range(2 * STEEP_READINGS):
        finder.look(200.0 + reading, 200 * MIB, 100 * MIB)
    assert not finder.is_tracing


def test_memory_that_python_did_not_take_is_told_as_such():
    report({}, seconds=20.0, process=50 * MIB)
    assert list(suspects()) == [OUTSIDE]


def test_what_is_replaced_by_its_like_is_no_leak():
    stack = (("a.py", 1),)
    trace = (0, 100, stack, 1)
    before, after = grouped([trace] * 3), grouped([trace] * 5)
    assert difference(before, after) == {stack: Held(200, 2)}
    assert difference(before, before) == {stack: Held(0, 0)}


def test_a_busy_process_is_traced_for_less_time(finder):
    grow(finder)
    # As it says, not even a millisecond has passed.
    finder.look(100.0001, 126 * MIB, None)
    finder.look(100.0002, 127 * MIB, None)
    assert not finder.is_tracing


def test_the_slope_is_that_of_the_last_ten_minutes():
    slope = Slope()
    for second in range(0, 1200, 5):
        slope.add(second, 5000.0 if second < 590 else 2.0 * second)
    assert slope.per_hour == pytest.approx(7200)


def test_a_few_points_have_no_slope():
    slope = Slope()
    for second in range(20):
        slope.add(second, 100.0 * second)
    assert slope.per_hour is None


def test_every_collection_is_counted_with_its_generation():
    heard = Collections()
    heard.start()
    try:
        gc.collect(1)
        gc.collect(2)
    finally:
        heard.stop()
    tallies = {name.key: tally for name, tally in buffer.take("").tallies.items()}
    assert tallies[GENERATIONS[1]].count >= 1
    assert tallies[GENERATIONS[2]].count >= 1
    assert heard.seconds > 0


def test_nobody_is_heard_after_the_end():
    heard = Collections()
    heard.start()
    heard.stop()
    gc.collect()
    assert heard.seconds == 0


def test_a_process_tells_what_it_has(finder):
    sampler = MemorySampler("web", finder)
    sampler.sample()
    collections.stop()
    message = buffer.take("")
    told = message.values["memory"]
    assert told["uss"] <= told["pss"] <= told["rss"] + MIB
    assert told["rss"] > 10 * MIB
    assert told["threads"] >= 1
    assert told["files"] >= 3
    assert len(told["collections"]) == 3
    assert told["tracing"] is False
    assert [name for name in message.tallies if name.type == "memory.rss"] == [
        ("memory.rss", "web")
    ]


def test_what_the_kernel_does_not_tell_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    assert (memory.resident(), memory.details(), memory.files()) == (None, {}, None)


class Kept:
    """Objects that only this test makes."""


def test_objects_that_became_more_are_counted_by_type():
    kept: list[Kept] = []

    def work():
        until(tracemalloc.is_tracing, "the look has begun")
        kept.extend(Kept() for _ in range(5_000))

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        found = dict(objects.look(1).document["types"])
        working.result()
    assert found[f"{Kept.__module__}.Kept"] == len(kept)


@pytest.mark.django_db
def test_the_card_says_what_to_do_when_nobody_speaks():
    assert "start one" in MemoryCard().content(Scope()).empty


@pytest.mark.django_db
def test_the_memory_card_turns_red_before_the_limit():
    buffer.publish("memory", {"rss": 240, "pss": 200, "used": 950, "limit": 1000, "slope": None})
    buffer.publish("process", {"role": "web"})
    buffer.record("memory.rss", "web", 240)
    buffer.record("gc.pause", GENERATIONS[2], 60.0)
    tell("web/1")
    content = MemoryCard().content(Scope())
    assert content.health
    assert content.health.level == Level.RED
    assert "95 %" in content.health.reason
    row = content.tables[0].rows[0].cells
    assert (row["instance"], row["role"], row["used"]) == ("web/1", "web", 95)
    assert content.tables[1].rows[2].cells["max"] == 60
    assert content.charts[0].lines[0].values[-1] == 240


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("size", "level"), [(800, Level.GREEN), (850, Level.YELLOW), (950, Level.RED)]
)
def test_a_process_is_judged_in_its_row_as_in_the_verdict(size, level):
    buffer.publish("memory", {"rss": 9, "pss": 9, "used": size, "limit": 1000, "slope": None})
    tell("web/1")
    content = MemoryCard().content(Scope())
    assert content.health
    assert (content.health.level, content.tables[0].rows[0].level) == (level, level)


@pytest.mark.django_db
def test_the_memory_card_names_a_leak():
    buffer.publish("memory", {"rss": 950, "pss": None, "limit": None, "slope": 99.0 * MIB})
    buffer.record("memory_growth", "jobs/a.py:3", 5 * MIB)
    buffer.describe("memory_growth", "jobs/a.py:3", {"objects": 7, "stack": ["a", "b"]})
    tell("web/1")
    content = MemoryCard().content(Scope())
    assert content.health
    assert (content.health.level, "jobs/a.py:3" in content.health.reason) == (Level.RED, True)
    assert content.tables[2].rows[0].cells["stack"] == "a ← b"


@pytest.mark.django_db
@pytest.mark.parametrize(("grown", "level"), [(19 * MIB, Level.GREEN), (21 * MIB, Level.YELLOW)])
def test_what_a_process_takes_at_its_start_is_no_growth_to_watch(grown, level):
    buffer.publish("memory", {"rss": 950, "pss": None, "slope": 99.0 * MIB, "grown": grown})
    tell("web/1")
    content = MemoryCard().content(Scope())
    assert content.health
    assert content.health.level == level
    assert next(one for one in content.facts if "growth" in one.label).level == level
