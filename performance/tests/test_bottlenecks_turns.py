"""One process of the fleet looks for bottlenecks at a time, and tells once what it finds."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client import CollectorRegistry

from performance.analysis.bottlenecks import analyser, sampler
from performance.analysis.bottlenecks.postgresql import SESSIONS
from performance.analysis.bottlenecks.sampler import (
    ANALYSE_EVERY,
    DETECTED,
    LOOK_EVERY,
    OVER_AFTER,
    PUBLISHED,
    BottlenecksSampler,
    take_turn,
)
from performance.metrics.instruments import Instruments
from performance.metrics.tallies import Translator
from performance.models import BottleneckReport
from performance.recorders.pools import waits
from performance.recording.process import buffer
from performance.storage.reading import values
from performance.tests.bottlenecked import broken, pool_is_small, process
from performance.tests.sessions import taken
from performance.tests.telling import forget, tell

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(waits, "role", "web")
    forget()


def begun():
    """The bottlenecks that were told to have begun, since it was last asked."""
    tallies = buffer.take("").tallies
    return {name.key: tally.count for name, tally in tallies.items() if name.type == DETECTED}


def test_what_begins_is_counted_once_and_not_while_it_lasts():
    pool_is_small()
    now = timezone.now()
    take_turn(now)
    assert begun() == {"db_pool": 1}
    take_turn(now + ANALYSE_EVERY)
    assert begun() == {}


def test_what_is_back_after_a_while_begins_anew():
    pool_is_small()
    now = timezone.now()
    take_turn(now)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE performance_aggregate SET bucket = bucket - interval '30 min'")
    begun()
    take_turn(now + ANALYSE_EVERY)
    pool_is_small()
    take_turn(now + 2 * ANALYSE_EVERY)
    assert begun() == {}
    with connection.cursor() as cursor:
        cursor.execute("UPDATE performance_aggregate SET bucket = bucket - interval '90 min'")
    later = now + 3 * ANALYSE_EVERY + OVER_AFTER
    take_turn(later)
    pool_is_small()
    take_turn(later + ANALYSE_EVERY)
    assert begun() == {"db_pool": 1}


def test_what_begins_is_a_metric():
    registry = CollectorRegistry()
    translator = Translator(Instruments("web", registry))
    pool_is_small()
    now = timezone.now()
    for number in range(3):
        take_turn(now + number * ANALYSE_EVERY)
        translator.take(buffer.take("").tallies)
    assert registry.get_sample_value("bottlenecks_detected_total", {"kind": "db_pool"}) == 1


def test_a_report_is_kept_when_something_has_changed_and_now_and_then():
    now = timezone.now()
    process()
    take_turn(now)
    take_turn(now + ANALYSE_EVERY)
    assert BottleneckReport.objects.count() == 1
    pool_is_small()
    take_turn(now + 2 * ANALYSE_EVERY)
    assert BottleneckReport.objects.latest("pk").limiter == "db_pool"
    take_turn(now + 3 * ANALYSE_EVERY)
    assert BottleneckReport.objects.count() == 2
    take_turn(now + 2 * ANALYSE_EVERY + sampler.KEPT_EVERY)
    assert BottleneckReport.objects.count() == 3


def test_whoever_comes_too_soon_does_nothing():
    now = timezone.now()
    take_turn(now)
    buffer.take("")
    take_turn(now + timedelta(seconds=1))
    assert not [name for name in buffer.take("").tallies if name.type == SESSIONS]


def test_an_analysis_that_fails_is_not_repeated_before_its_next_turn(monkeypatch):
    now = timezone.now()
    with monkeypatch.context() as faulty:
        faulty.setattr(sampler, "analyse", lambda: broken(None))
        with pytest.raises(DatabaseError):
            take_turn(now)
    take_turn(now + timedelta(seconds=LOOK_EVERY))
    assert not BottleneckReport.objects.exists()
    take_turn(now + ANALYSE_EVERY)
    assert BottleneckReport.objects.count() == 1


def test_a_turn_in_which_nothing_is_due_writes_nothing():
    now = timezone.now()
    take_turn(now)
    with CaptureQueriesContext(connection) as asked:
        take_turn(now + timedelta(seconds=1))
    assert not [one for one in asked if one["sql"].startswith(("INSERT", "UPDATE"))]


@pytest.mark.django_db(transaction=True)
def test_one_process_of_the_fleet_looks_at_a_time():
    with taken("performance.bottlenecks"):
        BottlenecksSampler().sample()
        found = buffer.take("")
        assert not [name for name in found.tallies if name.type == SESSIONS]
        assert PUBLISHED not in found.values
        assert not BottleneckReport.objects.exists()
    BottlenecksSampler().sample()
    tell("worker/1")
    assert values(PUBLISHED)["worker/1"]["state"] == analyser.UNKNOWN
    assert BottleneckReport.objects.count() == 1
