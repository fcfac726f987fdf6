"""Cron expressions: what fires when, above all on the days that clocks change."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.engine.cron import Cron, InvalidCron

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NEVER = ["0 0 30 2 *", "0 0 31 4,6 *", "0 0 */31 * MON#5"]
MALFORMED = ["", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* * * * 8", "x * * * *", "* /2"]


def ticks(expression, after, count=3, timezone="UTC"):
    found = Cron(expression, timezone).first(count, after=datetime.fromisoformat(after))
    return [f"{tick:%m-%d %H:%M}" for tick in found]


def test_ticks_are_later_than_the_moment_and_in_utc():
    assert ticks("0 12 * * *", "2026-01-01T12:00Z") == ["01-02 12:00", "01-03 12:00", "01-04 12:00"]


def test_the_hour_is_that_of_the_time_zone_in_winter_and_in_summer():
    assert ticks("0 9 * * *", "2026-01-01T00:00Z", 1, "Europe/Berlin") == ["01-01 08:00"]
    assert ticks("0 9 * * *", "2026-07-01T00:00Z", 1, "Europe/Berlin") == ["07-01 07:00"]


def test_names_of_days_and_the_last_day_of_a_month_are_known():
    assert ticks("0 0 * * MON", "2026-01-01T00:00Z", 1) == ["01-05 00:00"]
    assert ticks("0 0 L * *", "2026-02-01T00:00Z", 1) == ["02-28 00:00"]


def test_a_tick_in_the_hour_that_does_not_exist_comes_right_after_it():
    # 02:00 CET is 03:00 CEST, which is 01:00 UTC.
    assert ticks("30 2 * * *", "2026-03-28T12:00Z", 2, "Europe/Berlin") == [
        "03-29 01:00",
        "03-30 00:30",
    ]


def test_a_tick_in_the_hour_that_comes_twice_comes_once():
    assert ticks("30 2 * * *", "2026-10-24T12:00Z", 2, "Europe/Berlin") == [
        "10-25 00:30",
        "10-26 01:30",
    ]


def test_within_the_second_of_two_equal_hours_the_first_ones_tick_is_over():
    # 02:15 CET: 02:30 was 02:30 CEST, 45 minutes ago.
    assert ticks("30 2 * * *", "2026-10-25T01:15Z", 1, "Europe/Berlin") == ["10-26 01:30"]


def test_what_repeats_within_the_hour_follows_the_time_that_passes():
    every_half_hour = ticks("*/30 * * * *", "2026-10-25T00:00Z", 4, "Europe/Berlin")
    assert every_half_hour == ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00"]


@pytest.mark.parametrize("expression", [*NEVER, *MALFORMED])
def test_what_never_fires_or_is_no_expression_is_refused(expression):
    with pytest.raises(InvalidCron):
        Cron(expression).next_after(NOON)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../../etc/passwd", "/etc/localtime", "\x00"])
def test_a_time_zone_that_is_none_is_refused(name):
    with pytest.raises(InvalidCron, match="time zone"):
        Cron("* * * * *", name).next_after(NOON)


FIELD = st.text("0123456789*/,-#LW", min_size=1, max_size=4)


@given(st.lists(FIELD, min_size=5, max_size=5), st.sampled_from(["UTC", "America/New_York"]))
def test_any_expression_either_ticks_forward_or_is_refused(parts, timezone):
    cron = Cron(" ".join(parts), timezone)
    try:
        first = cron.next_after(NOON)
    except InvalidCron:
        return
    assert first > NOON
    assert first.second == 0
    assert all(tick > first for tick in cron.first(2, after=first))
