"""Sightings become findings, findings are resolved by silence, and come back as regressions."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from cachelayer.layer import cache_layer
from performance.analysis import findings
from performance.analysis.findings import (
    MENDED_AFTER,
    QUIET_FOR,
    FindingsSampler,
    State,
    ranked,
    review,
    states,
)
from performance.cards.nplusone import NPlusOneCard
from performance.cards.shapes import Health, Level
from performance.models import Aggregate, Capture, Cursor, Finding, Kind
from performance.recording.buffer import Buffer
from performance.recording.stream import Stream
from performance.storage.digest import ROLLED, Digest, roll_up_minutes
from performance.storage.periods import GRAINS, MINUTE
from performance.storage.reading import Scope
from performance.tests.sessions import taken

pytestmark = pytest.mark.django_db

N_PLUS_ONE = Kind.N_PLUS_ONE.value
HOUR = timedelta(hours=1)


@pytest.fixture
def stream():
    remote = cache_layer().remote
    remote.call(("UNLINK", "test:performance"))
    return Stream(remote, "test")


@pytest.fixture
def see(stream):
    """Record sightings of a key, with what is known of it."""

    def see(times=1, type=N_PLUS_ONE, key="fault", milliseconds=100.0, **about):
        buffer = Buffer()
        for _ in range(times):
            buffer.record(type, key, milliseconds)
        if about:
            buffer.describe(type, key, about)
        stream.append(buffer.take("web/1"))
        Digest(stream).run()

    return see


@pytest.fixture
def call(see):
    def call(view, times):
        see(times, findings.LOOKED_AT, view)

    return call


def only():
    [finding] = Finding.objects.all()
    return finding


def state(now=None):
    finding = only()
    return states([finding], now or timezone.now())[finding.pk]


# Moved by this, every bucket is one again.
LONGEST_BUCKET = timedelta(seconds=max(period.seconds for period in GRAINS))


def end_minute():
    """What was told so far is part of the longer windows."""
    following = MINUTE.bucket(timezone.now().timestamp()) + timedelta(minutes=1)
    roll_up_minutes(before=following)
    return following


def pass_time(age):
    """Everything so far was so much earlier."""
    Cursor.objects.filter(name=ROLLED).update(position=(end_minute() - age).isoformat())
    Aggregate.objects.update(bucket=F("bucket") - age)
    Finding.objects.update(
        **{
            name: F(name) - age
            for name in ("first_seen_at", "last_seen_at", "resolved_at", "reopened_at")
        }
    )


def test_what_was_seen_thrice_in_an_hour_is_a_finding(see):
    see(2)
    assert review(timezone.now()) == 0
    assert not Finding.objects.exists()
    see(1, title="N+1 on a table", view="GET /", hint="Add it.")
    assert review(timezone.now()) == 1
    finding = only()
    assert (finding.kind, finding.key, finding.title) == (N_PLUS_ONE, "fault", "N+1 on a table")
    assert (finding.sightings, finding.wasted) == (3, 300)
    assert finding.document["hint"] == "Add it."
    assert state() == State.OPEN


def test_what_was_seen_in_different_hours_is_none(see):
    see(2)
    pass_time(2 * HOUR)
    see(2)
    assert review(timezone.now()) == 0


def test_what_is_open_stays_open_by_a_single_sighting_an_hour(see, call):
    see(3, view="GET /jobs")
    review(timezone.now())
    pass_time(HOUR * 2)
    call("GET /jobs", MENDED_AFTER)
    see(1)
    end_minute()
    assert state() == State.SEEMS_MENDED
    assert review(timezone.now()) == 1
    assert state() == State.OPEN


def test_what_was_resolved_is_not_opened_by_a_single_sighting(see):
    see(3)
    review(timezone.now())
    Finding.objects.update(resolved_at=timezone.now())
    pass_time(HOUR * 2)
    see(1)
    assert review(timezone.now()) == 0
    assert state() == State.RESOLVED


def test_what_is_open_stays_open_however_much_others_cost(see, monkeypatch):
    monkeypatch.setattr(findings, "MOST", 1)
    see(3, key="cheap", milliseconds=1.0)
    review(timezone.now())
    pass_time(HOUR * 2)
    see(3, key="dear", milliseconds=1000.0)
    see(1, key="cheap", milliseconds=1.0)
    see(3, key="new and cheap", milliseconds=2.0)
    now = timezone.now()
    assert review(now) == 2
    lately = Finding.objects.filter(last_seen_at__gt=now - HOUR)
    assert {one.key for one in lately} == {"cheap", "dear"}


@pytest.mark.parametrize(
    "kind",
    [Kind.SLOW_QUERY, Kind.LEAKED_CONNECTION, Kind.BLOCKING_CALL, Kind.MEMORY_GROWTH],
)
def test_some_faults_are_found_at_the_first_sighting(see, kind):
    see(1, kind.value, "jobs/views.py:view")
    review(timezone.now())
    assert only().title == f"{kind.label}: jobs/views.py:view"


def test_looking_twice_counts_once(see):
    see(3)
    review(timezone.now())
    review(timezone.now())
    assert (only().sightings, only().wasted) == (3, 300)


def test_what_it_costs_is_of_the_hour_in_which_it_was_seen_last(see):
    see(5)
    review(timezone.now())
    pass_time(LONGEST_BUCKET)
    review(timezone.now())
    assert (only().sightings, only().wasted) == (5, 500)
    see(3, milliseconds=10.0)
    end_minute()
    review(timezone.now())
    assert (only().sightings, only().wasted) == (8, 30)


def test_the_latest_description_is_kept_also_when_it_is_told_no_more(see):
    see(3, title="old", line=1)
    review(timezone.now())
    see(1, title="new", line=2)
    review(timezone.now())
    assert (only().title, only().document["line"]) == ("new", 2)


def test_those_that_cost_most_are_first_and_what_is_resolved_is_last(see):
    for key, milliseconds in (("cheap", 1.0), ("dear", 100.0), ("past", 1000.0)):
        see(3, key=key, milliseconds=milliseconds)
    review(timezone.now())
    Finding.objects.filter(key="past").update(resolved_at=timezone.now())
    assert [one.key for one in ranked([Kind.N_PLUS_ONE])] == ["dear", "cheap", "past"]


def test_growing_memory_is_before_what_costs_time_and_by_bytes_among_itself(see):
    for kind, key, cost in (
        (Kind.N_PLUS_ONE, "slow", 9e9),
        (Kind.MEMORY_GROWTH, "small", 1e5),
        (Kind.MEMORY_GROWTH, "large", 1e7),
        (Kind.BLOCKING_CALL, "short", 100.0),
    ):
        see(3, kind.value, key, cost)
    review(timezone.now())
    found = ranked(list(Kind))
    assert [one.key for one in found] == ["large", "small", "slow", "short"]
    assert [one.unit for one in found] == ["bytes", "bytes", "ms", "ms"]


def test_a_finding_of_memory_is_shown_in_bytes(admin_client, see):
    see(1, Kind.MEMORY_GROWTH.value, "jobs/a.py:3", 5 * 1024 * 1024)
    review(timezone.now())
    page = admin_client.get(reverse("console:capture-finding", args=[only().pk])).content.decode()
    assert "<dt>Grew in an hour</dt><dd>5 MiB</dd>" in page


@pytest.mark.parametrize("document", [{}, {"view": "command warmcache"}])
def test_no_capture_is_offered_of_what_is_no_view(admin_client, see, document):
    see(3)
    review(timezone.now())
    Finding.objects.update(document=document)
    url = reverse("console:capture-finding", args=[only().pk])
    assert "Capture the next requests" not in admin_client.get(url).content.decode()
    assert "is no view" in admin_client.post(url).content.decode()
    assert not Capture.objects.exists()


def test_a_week_of_silence_resolves_it(see):
    see(3)
    now = timezone.now()
    review(now)
    review(now + QUIET_FOR - HOUR)
    assert state() == State.OPEN
    review(now + QUIET_FOR + HOUR)
    assert state() == State.RESOLVED


def test_what_comes_back_is_a_regression(see):
    see(3)
    now = timezone.now()
    review(now)
    first_seen_at = only().first_seen_at
    review(now + QUIET_FOR + HOUR)
    pass_time(2 * QUIET_FOR)
    see(3)
    review(timezone.now())
    assert state() == State.REGRESSION
    assert only().first_seen_at == first_seen_at - 2 * QUIET_FOR
    [row] = NPlusOneCard().content(Scope()).tables[0].rows
    assert (row.level, row.cells["state"]) == (Level.RED, "regression")


def test_what_was_resolved_by_hand_is_not_opened_by_what_was_seen_before(see):
    see(3)
    review(timezone.now())
    Finding.objects.update(resolved_at=timezone.now())
    review(timezone.now())
    assert state() == State.RESOLVED


def test_it_seems_mended_after_enough_calls_of_its_view(see, call):
    see(3, view="GET /jobs")
    review(timezone.now())
    pass_time(HOUR / 2)
    call("GET /other", MENDED_AFTER)
    call("GET /jobs", MENDED_AFTER - 1)
    assert state() == State.OPEN
    call("GET /jobs", 1)
    assert state() == State.SEEMS_MENDED


def test_calls_before_it_was_seen_last_mend_nothing(see, call):
    call("GET /jobs", MENDED_AFTER)
    pass_time(HOUR / 2)
    see(3, view="GET /jobs")
    review(timezone.now())
    assert state() == State.OPEN


def test_it_is_open_again_when_it_is_seen_again(see, call):
    see(3, view="GET /jobs")
    review(timezone.now())
    pass_time(HOUR / 2)
    call("GET /jobs", MENDED_AFTER)
    assert state() == State.SEEMS_MENDED
    see(1)
    review(timezone.now())
    assert state() == State.OPEN


def test_calls_are_counted_over_days_too(see, call):
    see(3, view="GET /jobs")
    review(timezone.now())
    pass_time(timedelta(days=2))
    call("GET /jobs", MENDED_AFTER)
    end_minute()
    assert state() == State.SEEMS_MENDED


def test_one_process_reviews_for_the_fleet(see):
    see(3)
    with taken("performance.findings"):
        FindingsSampler().sample()
        assert not Finding.objects.exists()
    FindingsSampler().sample()
    assert Finding.objects.exists()


def test_what_was_just_reviewed_is_not_reviewed_again(see):
    FindingsSampler().sample()
    see(3)
    FindingsSampler().sample()
    assert not Finding.objects.exists()
    earlier = timezone.now() - timedelta(seconds=FindingsSampler.every)
    Cursor.objects.filter(name=findings.CURSOR).update(position=earlier.isoformat())
    FindingsSampler().sample()
    assert Finding.objects.exists()


def test_the_card_is_green_when_nothing_is_found():
    content = NPlusOneCard().content(Scope())
    assert content.health == Health(Level.GREEN, "no request repeats a query needlessly")
    assert all(not table.rows and table.empty for table in content.tables)
