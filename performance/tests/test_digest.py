"""The stream is digested once, whoever writes to it, whatever was written."""

import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from cachelayer.layer import cache_layer
from performance.models import Aggregate, Cursor, Value
from performance.observing import DigestSampler
from performance.recording.buffer import MOST_KEYS, OTHER, Buffer
from performance.recording.stream import Stream
from performance.recording.wire import packed
from performance.storage.digest import STREAM, Digest
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope, samples, series, top, total, values
from performance.tests.sessions import taken

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


BREAK = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''refused''; END';
CREATE TRIGGER refuse BEFORE UPDATE ON performance_cursor EXECUTE FUNCTION refuse()
"""


def test_what_failed_on_its_way_to_the_tables_counts_once_when_it_gets_there(digest, tell):
    tell(("request", "/jobs", 10.0))
    digest.run()
    tell(("request", "/jobs", 10.0))
    with connection.cursor() as cursor:
        cursor.execute(BREAK)
        with pytest.raises(DatabaseError, match="refused"):
            digest.run()
        cursor.execute("DROP TRIGGER refuse ON performance_cursor")
    digest.run()
    assert whole().count == 2


def test_who_finds_nothing_new_does_not_forget_what_others_have_digested(stream, tell):
    one, two = Digest(stream), Digest(stream)
    for digest in (one, two):
        tell(("request", "/jobs", 10.0))
        digest.run()
    one.run()
    tell(("request", "/jobs", 10.0))
    one.run()
    assert whole().count == 3


def test_of_too_many_keys_the_largest_keep_their_names(digest, tell):
    for numbers in (range(400), range(400, 800)):
        tell(*[("request", str(number), float(number)) for number in numbers])
    digest.run()
    kept = {line.key: line for line in top("request", FLEET, most=1_000)}
    assert kept.keys() == {OTHER, *map(str, range(800 - MOST_KEYS, 800))}
    assert kept[OTHER].count == 800 - MOST_KEYS
    assert whole().count == 800


def test_a_bucket_has_no_more_keys_however_often_others_come(digest, tell):
    for seconds in (66, 64, 62):
        keys = [f"{seconds} {number}" for number in range(300)]
        tell(*[("request", key, 10.0) for key in keys], minutes_ago=seconds / 60)
        digest.run()
    tell(("later", "", 1.0))
    digest.run()
    for period in ("1h", "6h", "7d"):
        found = Aggregate.objects.filter(
            type="request", period=PERIODS[period].seconds, instance=""
        ).values_list("bucket", "count")
        assert sum(count for _, count in found) == 900
        assert max(Counter(bucket for bucket, _ in found).values()) <= MOST_KEYS + 1


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


def test_a_message_from_the_future_does_not_make_all_that_come_after_it_so(digest, tell, stream):
    tell(("request", "/jobs", 10.0))
    digest.run()
    tell(("request", "/jobs", 10.0), minutes_ago=-1e9)
    tell(("request", "/jobs", 10.0))
    assert digest.run() == digest.garbage == 2
    tell(("request", "/jobs", 10.0))
    digest.run()
    assert digest.garbage == 2
    assert whole().count == 2


@pytest.mark.parametrize(("seconds", "digested"), [(1, 0), (20, 1), (-1e6, 1)])
def test_a_web_process_digests_only_when_nobody_else_has_lately(stream, tell, seconds, digested):
    at = int(time.time() - seconds) * 1000
    Cursor.objects.create(name=STREAM, position=f"{at}-0")
    sampler = DigestSampler("web")
    sampler._digest = Digest(stream)
    tell(("request", "/jobs", 10.0))
    sampler.sample()
    assert whole().count == digested


def test_nothing_is_digested_while_another_process_is_at_it(digest, tell):
    tell(("request", "/jobs", 10.0))
    with taken("performance.digest"):
        assert digest.run() == 0
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


def test_who_spoke_last_is_not_alive_when_that_was_long_ago(digest, tell):
    tell(pools={"size": 2}, minutes_ago=10)
    digest.run()
    assert Value.objects.filter(type="pools").exists()
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
