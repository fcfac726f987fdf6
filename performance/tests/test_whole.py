"""A window as one whole: the pieces that it is read in, and that they miss and repeat nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from performance.models import Aggregate
from performance.storage.periods import GRAINS, MINUTE, PERIODS
from performance.storage.reading import Scope, everything, wholes
from performance.storage.whole import ROLLED_UP_AFTER, pieces

YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.timedeltas(timedelta(0), timedelta(days=365)).map(lambda age: YEAR + age)
SHORTS = st.sampled_from(list(PERIODS.values()))


@given(SHORTS, MOMENTS, st.booleans())
def test_the_pieces_of_a_window_follow_each_other_without_a_gap(short, now, by_instance):
    found = pieces(short, now, by_instance=by_instance)
    assert all(before.ends == after.begins for before, after in pairwise(found))
    assert found[0].begins - (now - short.window) <= timedelta(seconds=short.seconds)
    assert found[0].begins > now - short.window
    assert found[-1].ends > now


@given(SHORTS, MOMENTS, st.booleans())
def test_long_buckets_are_read_whole_and_only_once_they_are_written(short, now, by_instance):
    for period, begins, ends in pieces(short, now, by_instance=by_instance):
        if period != short.seconds:
            assert begins.timestamp() % period == ends.timestamp() % period == 0
            assert ends <= now - ROLLED_UP_AFTER


@given(SHORTS, MOMENTS)
def test_of_a_process_only_what_is_kept_of_it_is_read(short, now):
    kept = {one.seconds for one in GRAINS if one.by_instance} | {short.seconds}
    assert {one.period for one in pieces(short, now, by_instance=True)} <= kept


@given(SHORTS, MOMENTS)
def test_a_window_is_read_in_a_third_of_its_buckets_at_most(short, now):
    found = pieces(short, now, by_instance=False)
    assert sum((one.ends - one.begins) // timedelta(seconds=one.period) for one in found) <= 20


@pytest.mark.django_db
def test_a_window_holds_each_of_its_entries_once():
    now = timezone.now()
    ages = [timedelta(minutes=number) for number in range(6 * 60 - 7)]
    for grain in GRAINS:
        buckets: dict[datetime, int] = {}
        for age in ages:
            # What is longer than a minute is written when that is over.
            if grain is MINUTE or age >= timedelta(minutes=1):
                at = grain.bucket((now - age).timestamp())
                buckets[at] = buckets.get(at, 0) + 1
        Aggregate.objects.bulk_create(
            Aggregate(
                type="visit", key="door", period=grain.seconds, bucket=at, count=number,
                sum=number, max=1, histogram=b"\x80", is_sampled=False,
            )
            for at, number in buckets.items()
        )  # fmt: skip
    for scope in (Scope(PERIODS["6h"]), Scope(PERIODS["24h"]), Scope(PERIODS["7d"])):
        assert wholes(["visit"], scope)["visit"].count == len(ages) - 1
        assert everything(["visit"], scope)["visit"]["door"].sum == len(ages) - 1
