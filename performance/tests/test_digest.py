"""The stream is digested once, whoever writes to it, whatever was written."""

import time
from contextlib import closing
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from cachelayer.layer import cache_layer
from performance.models import Aggregate, Cursor, Sample, Subject, Value
from performance.recording.buffer import Buffer
from performance.recording.stream import Stream
from performance.recording.wire import packed
from performance.storage.digest import STREAM, Digest
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope, samples, series, top, total, values
from performance.storage.trimming import trim

pytestmark = pytest.mark.django_db

FLEET = Scope()


def whole(scope=FLEET):
    return total(series("request", scope))


@pytest.fixture
def stream():
    remote = cache_layer().remote
    remote.call(("UNLINK", "test:performance"))
    return Stream(remote, "test")


@pytest.fixture
def digest(stream):
    return Digest(stream)


@pytest.fixture
def tell(stream):
    def tell(*entries, instance="web/1", minutes_ago=0, **buffered):
        buffer = Buffer()
        for entry in entries:
            buffer.record(*entry)
        for type, document in buffered.items():
            buffer.publish(type, document)
        message = buffer.take(instance)
        if not minutes_ago:
            stream.append(message)
            return
        at = int(time.time() - 60 * minutes_ago) * 1000
        cache_layer().remote.call(
            ("XADD", "test:performance", f"{at}-1", "message", packed(message))
        )

    return tell


def test_what_two_processes_say_adds_up(digest, tell):
    tell(("request", "/jobs", 10.0), instance="web/1")
    tell(("request", "/jobs", 30.0), ("request", "/jobs", 20.0), instance="web/2")
    digest.run()
    found = whole()
    assert (found.count, found.sum, found.max) == (3, 60, 30)
    assert found.p50 == pytest.approx(20, rel=0.05)


def test_what_comes_later_adds_to_what_is_there(digest, tell):
    for _ in range(2):
        tell(("request", "/jobs", 10.0))
        digest.run()
    assert whole().count == 2
    assert whole().histogram.popitem()[1] == 2


def test_one_process_can_be_looked_at_alone(digest, tell):
    tell(("request", "/jobs", 10.0), instance="web/1")
    tell(("request", "/jobs", 30.0), instance="web/2")
    digest.run()
    assert whole(Scope(instance="web/2")).sum == 30


def test_a_minute_that_is_over_is_part_of_the_longer_windows(digest, tell):
    for minutes, value in ((3, 5.0), (2, 10.0), (1, 30.0), (0, 50.0)):
        tell(("request", "/jobs", value), minutes_ago=minutes)
        if minutes < 3:
            digest.run()
    for period in ("6h", "24h", "7d"):
        found = whole(Scope(PERIODS[period]))
        assert (found.count, found.sum, found.max) == (3, 45, 30)


def test_minutes_that_others_have_digested_are_not_lost(stream, tell):
    one, two = Digest(stream), Digest(stream)
    for digest in (one, two, one, two):
        tell(("request", "/jobs", 10.0))
        digest.run()
    assert whole().count == 4


def test_what_was_rolled_back_is_not_remembered(digest, tell):
    tell(("request", "/jobs", 10.0))
    with transaction.atomic():
        digest.run()
        transaction.set_rollback(True)
    tell(("request", "/jobs", 10.0))
    digest.run()
    assert whole().count == 1


def test_a_day_is_kept_of_the_fleet_but_not_of_each_process(digest, tell):
    for minutes in (2, 1):
        tell(("request", "/jobs", 10.0), instance="web/1", minutes_ago=minutes)
        digest.run()
    day = PERIODS["24h"]
    assert whole(Scope(day)).count == 1
    assert whole(Scope(day, "web/1")).count == 0


def test_a_message_counts_once_when_its_removal_failed(digest, tell, stream):
    tell(("request", "/jobs", 10.0))
    message_id, data = next(stream.read("0-0", 1))
    digest.run()
    remote = cache_layer().remote
    remote.call(("XTRIM", "test:performance", "MAXLEN", 0))
    # As if it had never been removed.
    remote.call(("UNLINK", "test:performance"))
    remote.call(("XADD", "test:performance", message_id, "message", data))
    digest.run()
    assert whole().count == 1


def test_what_was_digested_is_removed_from_the_stream(digest, tell, stream):
    tell(("request", "/jobs", 10.0))
    digest.run()
    assert list(stream.read("0-0", 10)) == []


def test_a_new_valkey_whose_clock_is_behind_is_read_from_its_start(digest, tell):
    Cursor.objects.create(name=STREAM, position="99999999999999-0")
    tell(("request", "/jobs", 10.0))
    digest.run()
    assert whole().count == 1


def test_garbage_in_the_stream_is_counted_and_passed_over(digest, tell):
    cache_layer().remote.call(("XADD", "test:performance", "*", "message", b"garbage"))
    cache_layer().remote.call(("XADD", "test:performance", "*", "other", b"field"))
    tell(("request", "/jobs", 10.0))
    assert digest.run() == 3
    assert digest.garbage == 2
    assert whole().count == 1


def test_nothing_is_digested_while_another_process_is_at_it(digest, tell):
    tell(("request", "/jobs", 10.0))
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('performance.digest'))")
        assert digest.run() == 0
        cursor.execute("SELECT pg_advisory_unlock(hashtext('performance.digest'))")
    assert digest.run() == 1


def test_the_latest_state_of_each_process_is_known(digest, tell):
    tell(pools={"size": 1}, instance="web/1")
    tell(pools={"size": 2}, instance="web/1")
    tell(pools={"size": 5}, instance="web/2")
    digest.run()
    assert values("pools") == {"web/1": {"size": 2}, "web/2": {"size": 5}}


def test_a_process_that_is_silent_is_not_shown(digest, tell):
    tell(pools={"size": 1})
    digest.run()
    Value.objects.update(updated_at=timezone.now() - timedelta(minutes=1))
    assert values("pools") == {}


def test_evidence_is_found_by_what_it_is_about(digest, stream):
    buffer = Buffer()
    for value in (5.0, 9.0):
        buffer.sample("request", "/jobs", value, {"status": 200})
    buffer.sample("request", "/other", 99.0, {})
    stream.append(buffer.take("web/1"))
    digest.run()
    found = samples("request", FLEET, "/jobs")
    assert [(sample.value, sample.document) for sample in found] == [
        (9.0, {"status": 200}),
        (5.0, {"status": 200}),
    ]


def test_the_top_is_by_what_is_asked_and_knows_what_a_key_stands_for(digest, stream):
    buffer = Buffer()
    buffer.record("query", "rare", 500.0)
    for _ in range(3):
        buffer.record("query", "often", 1.0)
    buffer.describe("query", "rare", {"sql": "SELECT 1"})
    stream.append(buffer.take("web/1"))
    digest.run()
    assert [line.key for line in top("query", FLEET, order="sum")] == ["rare", "often"]
    assert [line.key for line in top("query", FLEET, order="count")] == ["often", "rare"]
    slowest = top("query", FLEET, order="max", most=1)[0]
    assert slowest.about == {"sql": "SELECT 1"}
    assert slowest.p95 == pytest.approx(500, rel=0.05)


def test_a_series_has_sixty_points_and_the_last_is_now(digest, tell):
    tell(("request", "/jobs", 10.0))
    digest.run()
    points = series("request", FLEET)
    assert len(points) == 60
    assert [point.summary.count for point in points[-2:]] in ([0, 1], [1, 0])


def test_what_nobody_can_look_at_any_more_is_removed(digest, tell):
    for minutes in (2, 1):
        tell(("request", "/jobs", 10.0), pools={"size": 1}, minutes_ago=minutes)
        digest.run()
    later = timezone.now() + timedelta(hours=2)
    trim(later)
    kept = {period for (period,) in Aggregate.objects.values_list("period").distinct()}
    assert kept == {360, 1440, 10080, 60480}
    trim(timezone.now() + timedelta(days=30))
    assert not any(model.objects.exists() for model in (Aggregate, Sample, Subject, Value))


def test_removal_is_bounded(digest, tell):
    tell(*[("request", str(number), 1.0) for number in range(20)])
    digest.run()
    before = Aggregate.objects.count()
    assert trim(timezone.now() + timedelta(hours=2), most=5) == 5
    assert Aggregate.objects.count() == before - 5
