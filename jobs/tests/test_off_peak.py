"""Off-peak hours: when they begin, also past midnight and when clocks change."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from jobs.engine.off_peak import Window, next_off_peak


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


def test_without_hours_it_is_always_off_peak(configure):
    configure(off_peak_hours="")
    assert next_off_peak(at("2026-01-01T12:00Z")) is None


@pytest.mark.parametrize("now", ["2026-01-01T22:00Z", "2026-01-02T00:00Z", "2026-01-02T05:59:59Z"])
def test_hours_may_pass_midnight(configure, now):
    configure(off_peak_hours="22:00-06:00")
    assert next_off_peak(at(now)) is None


@pytest.mark.parametrize("now", ["2026-01-01T06:00Z", "2026-01-01T12:00Z", "2026-01-01T21:59:59Z"])
def test_in_peak_hours_the_next_ones_are_named(configure, now):
    configure(off_peak_hours="22:00-06:00")
    assert next_off_peak(at(now)) == at("2026-01-01T22:00Z")


def test_hours_within_a_day_begin_tomorrow_when_they_are_over(configure):
    configure(off_peak_hours="01:00-05:00")
    assert next_off_peak(at("2026-01-01T05:00Z")) == at("2026-01-02T01:00Z")


def test_the_hours_are_those_of_the_time_zone(configure):
    configure(off_peak_hours="22:00-06:00", off_peak_timezone="America/New_York")
    assert next_off_peak(at("2026-07-01T12:00Z")) == at("2026-07-02T02:00Z")


def test_equal_times_mean_the_whole_day(configure):
    configure(off_peak_hours="00:00-00:00")
    assert next_off_peak(at("2026-01-01T12:00Z")) is None


def test_hours_that_do_not_exist_on_the_day_clocks_go_forward_begin_a_day_later():
    night = Window(time(2), time(3), ZoneInfo("Europe/Berlin"))
    assert night.next_start(at("2026-03-28T12:00Z")) == at("2026-03-30T00:00Z")


def test_hours_that_lose_their_beginning_begin_late():
    night = Window(time(2), time(6), ZoneInfo("Europe/Berlin"))
    assert night.next_start(at("2026-03-28T12:00Z")) == at("2026-03-29T01:00Z")
