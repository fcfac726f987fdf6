"""Burn rates: hand-made cases just below and above, and the windows they are counted in."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from jobs.tests.admins import end, submit
from performance.alerts.burn import OBJECTIVES, SPEEDS, Events, jobs, rate, requests
from performance.alerts.recent import period_for
from performance.alerts.rule import RULES
from performance.models import Aggregate
from performance.storage.periods import PERIODS
from performance.storage.reading import read_together

FAST, SLOW, STEADY = SPEEDS
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = datetime(2026, 5, 4, 12, 0, 30, tzinfo=UTC)


def many(failed, total=100_000):
    return Events(total, failed)


@pytest.mark.parametrize(
    ("long", "short", "fires"),
    [
        (many(1440), many(1440), True),
        (many(1439), many(5000), False),
        (many(5000), many(1439), False),
        (many(5000), Events(0, 0), False),
        (many(5000), Events(10, 1), True),
    ],
)
def test_a_page_needs_both_windows_above_14_4(long, short, fires):
    assert (round(rate(long, short), 6) >= FAST.rate) is fires


@pytest.mark.parametrize(
    ("long", "fires"),
    [
        (Events(19, 19), False),
        (Events(20, 20), True),
        (Events(20, 4), False),
        (Events(300, 4), False),
        (Events(300, 5), True),
    ],
)
def test_few_events_or_failures_tell_nobody(long, fires):
    assert (rate(long, Events(2, 2)) >= FAST.rate) is fires


def test_it_is_over_as_soon_as_the_short_window_is_well():
    assert rate(many(5000), many(0)) == 0


def test_speeds_are_those_of_99_9_per_cent_over_30_days():
    # Share of the month's budget that is gone when each fires.
    gone = [speed.rate * speed.long / (30 * DAY) for speed in SPEEDS]
    assert [round(one, 4) for one in gone] == [0.02, 0.05, 0.1]
    assert [speed.severity for speed in SPEEDS] == ["page", "page", "ticket"]
    assert all(f"{one.name}_burn_{speed.name}" in RULES for one in OBJECTIVES for speed in SPEEDS)


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        (5 * MINUTE, 60),
        (30 * MINUTE, 60),
        (HOUR, 60),
        (6 * HOUR, 360),
        (DAY, 1440),
        (3 * DAY, 10080),
    ],
)
def test_a_window_is_counted_in_the_finest_buckets_that_go_back_so_far(window, seconds):
    assert period_for(window).seconds == seconds


def keep(type, count, ago, key="", total=0.0):
    """Entries that were recorded that long before NOW, as all periods have them."""
    for period in PERIODS.values():
        bucket = period.bucket((NOW - ago).timestamp())
        Aggregate.objects.create(
            type=type, key=key, period=period.seconds, bucket=bucket, count=count, sum=total,
            max=0, histogram=b"\x80", is_sampled=False,
        )  # fmt: skip


@pytest.mark.django_db
def test_requests_are_counted_without_those_that_were_refused():
    keep("request", 100, MINUTE, "GET /a")
    keep("request", 50, MINUTE, "GET /b")
    keep("request.4xx", 40, MINUTE, "GET /b")
    keep("request.5xx", 11, MINUTE, "GET /a")
    assert requests(HOUR, NOW) == (110, 11)


@pytest.mark.django_db
@pytest.mark.parametrize("speed", SPEEDS, ids=lambda speed: speed.name)
def test_each_window_ends_within_a_bucket_of_where_it_should(speed):
    for window in (speed.long, speed.short):
        bucket = timedelta(seconds=period_for(window).seconds)
        Aggregate.objects.all().delete()
        keep("request", 1, window + bucket)
        assert requests(window, NOW).total == 0
        Aggregate.objects.all().delete()
        keep("request", 1, window - bucket)
        assert requests(window, NOW).total == 1


@pytest.mark.django_db
def test_only_our_own_failures_of_jobs_count():
    keep("attempt.run", 90, MINUTE, "succeeded")
    keep("attempt.run", 30, MINUTE, "queued")
    keep("attempt.run", 10, MINUTE, "failed")
    keep("attempt.error", 20, MINUTE, "timeout", total=7)
    # Ten attempts, of which three were the last of their jobs.
    keep("attempt.error", 10, MINUTE, "internal_error", total=3)
    assert jobs(HOUR, NOW) == (100, 3)


@pytest.mark.django_db
def test_jobs_that_lost_their_workers_count_although_no_attempt_of_theirs_ended(tenant):
    end(submit(tenant.client), error_code="worker_lost")
    end(submit(tenant.client), error_code="timeout")
    assert jobs(HOUR, timezone.now()) == (1, 1)


@pytest.mark.django_db
def test_the_reading_has_the_figures_of_both_windows():
    keep("request", 1000, MINUTE)
    keep("request.5xx", 30, MINUTE)
    [reading] = RULES["requests_burn_fast"].measure(NOW)
    assert round(reading.value, 6) == 30
    assert reading.text == (
        "3 % of 1,000 requests failed in the last 60 min, 3 % of 1,000 in the last 5 min"
    )


@pytest.mark.django_db
def test_all_rules_together_read_each_period_once(django_assert_num_queries):
    rules = [RULES[f"{one.name}_burn_{speed.name}"] for one in OBJECTIVES for speed in SPEEDS]
    keep("request", 1000, MINUTE)
    keep("request.5xx", 30, 2 * HOUR)
    alone = [list(rule.measure(NOW)) for rule in rules]
    # Three periods, and the jobs that were given up.
    with read_together(), django_assert_num_queries(4):
        assert [list(rule.measure(NOW)) for rule in rules] == alone
