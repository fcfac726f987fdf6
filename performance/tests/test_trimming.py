"""What is old is removed, whatever kind it is, and of what is newer no more than is looked at."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from performance.models import (
    Aggregate,
    Alert,
    BottleneckReport,
    Capture,
    Deploy,
    Finding,
    Sample,
    Subject,
    Value,
)
from performance.observing import TrimSampler, mark_deploy
from performance.recording.buffer import MOST_SAMPLES
from performance.storage.trimming import MOST, trim

pytestmark = pytest.mark.django_db

NOW = timezone.now()
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def alert(at):
    return Alert.objects.create(
        rule="queue_age", severity="ticket", state="resolved", reason="x", value=1, threshold=1,
        runbook="x", started_at=at, last_seen_at=at, resolved_at=at,
    )  # fmt: skip


def capture(at):
    return Capture.objects.create(
        kind="cpu", target="web/1", state="done", asked_at=at, ended_at=at
    )


def finding(at):
    return Finding.objects.create(
        kind="slow_query", key=str(at), title="x", document={}, first_seen_at=at, last_seen_at=at,
        resolved_at=at,
    )  # fmt: skip


def report(at):
    return BottleneckReport.objects.create(created_at=at, period="1h", document={})


def deploy(at):
    return Deploy.objects.create(revision="1234567", seen_at=at)


def sample(at, value=1.0, key="/jobs"):
    return Sample.objects.create(
        type="request", key=key, instance="web/1", value=value, recorded_at=at, document={}
    )


def subject(at):
    return Subject.objects.create(type="query", key=str(at), document={}, seen_at=at)


def state(at):
    return Value.objects.create(type="pools", instance=str(at), document={}, updated_at=at)


def aggregate(at, period, key=""):
    return Aggregate.objects.create(
        period=period, bucket=at, type="request", key=key, count=1, sum=1, max=1,
        histogram=b"\x80", is_sampled=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "days"),
    [
        (alert, 90),
        (capture, 30),
        (deploy, 90),
        (finding, 90),
        (report, 30),
        (sample, 7),
        (state, 1),
        (subject, 14),
    ],
)
def test_what_nobody_can_look_at_any_more_is_removed(make, days):
    kept = make(NOW - timedelta(days=days - 0.1))
    make(NOW - timedelta(days=days + 0.1))
    assert trim(NOW) == 1
    assert list(type(kept).objects.all()) == [kept]


@pytest.mark.parametrize(("period", "hours"), [(60, 1), (360, 6), (1440, 24), (10080, 7 * 24)])
def test_a_window_is_kept_for_as_long_as_it_is(period, hours):
    kept = aggregate(NOW - timedelta(hours=hours - 0.1), period)
    aggregate(NOW - timedelta(hours=hours + 0.1), period)
    assert trim(NOW) == 1
    assert list(Aggregate.objects.all()) == [kept]


def test_what_has_not_ended_is_kept_however_old():
    old = NOW - timedelta(days=400)
    Finding.objects.filter(pk=finding(old).pk).update(resolved_at=None)
    Alert.objects.filter(pk=alert(old).pk).update(resolved_at=None, state="firing")
    assert trim(NOW) == 0


def test_the_newest_deploy_is_kept_so_that_the_same_code_is_no_other():
    newest = deploy(NOW - timedelta(days=100))
    deploy(NOW - timedelta(days=101))
    assert trim(NOW) == 1
    mark_deploy(newest.revision)
    assert list(Deploy.objects.all()) == [newest]


def test_removal_is_bounded():
    for number in range(20):
        subject(NOW - timedelta(days=20, seconds=number))
    assert trim(NOW, most=5) == 5
    assert Subject.objects.count() == 15


def test_what_is_more_than_a_piece_is_removed_in_several():
    old = NOW - timedelta(days=1)
    Subject.objects.bulk_create(
        Subject(type="query", key=str(number), document={}, seen_at=old - timedelta(days=20))
        for number in range(MOST + 1)
    )
    TrimSampler().sample()
    assert not Subject.objects.exists()


def test_of_an_hour_that_is_over_the_largest_of_each_name_are_left():
    for value in range(5):
        sample(NOON + timedelta(minutes=value), value)
    other = sample(NOON, 0.5, "/other")
    trim(NOON + timedelta(hours=2))
    left = Sample.objects.order_by("-value")
    assert [one.value for one in left.filter(key="/jobs")] == [4, 3, 2]
    assert left.filter(pk=other.pk).exists()


def test_of_the_latest_hour_all_evidence_is_left():
    for value in range(5):
        sample(NOON, value)
    trim(NOON + timedelta(hours=1.9))
    assert Sample.objects.count() == 5


def test_thinning_out_goes_on_where_it_was():
    for hour in range(3):
        for value in range(MOST_SAMPLES + 2):
            sample(NOON + timedelta(hours=hour), value)
    later = NOON + timedelta(hours=6)
    removed = [trim(later, most=3) for _ in range(4)]
    assert removed == [3, 3, 0, 0]
    assert Sample.objects.count() == 3 * MOST_SAMPLES
