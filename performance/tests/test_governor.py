"""Watching that costs too much looks at less, and at more again when it costs little."""

from __future__ import annotations

import pytest

from performance.recording import governor as module
from performance.recording.governor import LOWEST_RATE, WINDOW, Governor


class Clocks:
    """The process's clocks, set by hand: what it did, and what watching took of that."""

    def __init__(self) -> None:
        self.now = self.cpu = 0.0


@pytest.fixture
def clocks(monkeypatch):
    clocks = Clocks()
    monkeypatch.setattr(module, "monotonic", lambda: clocks.now)
    monkeypatch.setattr(module, "process_time", lambda: clocks.cpu)
    return clocks


def pass_time(clocks, governor, *, seconds=2.0, busy=1.0, cost=0.0, background=0.0):
    """So much time goes by, in which the process was busy for a share of it."""
    clocks.now += seconds
    clocks.cpu += seconds * busy
    governor.spent += seconds * busy * cost
    governor.background += seconds * background
    governor.adjust()


def test_too_dear_watching_looks_at_fewer_requests(clocks):
    governor = Governor(0.05)
    for _ in range(10):
        pass_time(clocks, governor, cost=0.2 * governor.rate)
    assert governor.rate < 0.5
    assert governor.share <= 0.05


def test_it_stays_some_way_below_the_most_that_watching_may_cost(clocks):
    governor = Governor(0.05)
    for _ in range(60):
        pass_time(clocks, governor, cost=0.045 * governor.rate)
        assert governor.share <= 0.05
    assert governor.share <= 0.03


def test_it_looks_at_all_again_when_watching_is_cheap(clocks):
    governor = Governor(0.05, rate=LOWEST_RATE)
    for _ in range(60):
        pass_time(clocks, governor, cost=0.02)
    assert governor.rate == 1.0


def test_what_it_costs_whatever_the_rate_does_not_keep_the_rate_down(clocks):
    governor = Governor(0.05, rate=LOWEST_RATE)
    for _ in range(60):
        pass_time(clocks, governor, busy=0.05, cost=0.02 / 0.5)
    assert governor.rate == 1.0


def test_a_costly_start_of_an_idle_process_is_no_reason_to_look_at_less(clocks):
    governor = Governor(0.05)
    governor.spent += 0.04
    for _ in range(20):
        pass_time(clocks, governor, busy=0.02, cost=0.1)
    assert governor.rate == 1.0


def test_the_observers_own_work_is_part_of_the_cost(clocks):
    governor = Governor(0.05)
    for _ in range(20):
        pass_time(clocks, governor, cost=0.01, background=0.02)
    assert governor.share == pytest.approx(0.03)


def test_what_the_observer_takes_is_left_to_the_recorders_no_more(clocks):
    governor = Governor(0.05)
    for _ in range(20):
        pass_time(clocks, governor, cost=0.2 * governor.rate, background=0.03)
    assert governor.rate < 0.25
    assert governor.share <= 0.05


def test_an_idle_process_with_an_observer_looks_at_every_request(clocks):
    governor = Governor(0.05)
    for _ in range(20):
        pass_time(clocks, governor, busy=0.02, background=0.02)
    assert governor.rate == 1.0
    assert governor.share == pytest.approx(0.02)


def test_the_rate_never_falls_below_the_lowest(clocks):
    governor = Governor(0.05)
    for _ in range(200):
        pass_time(clocks, governor, cost=0.9)
    assert governor.rate == LOWEST_RATE


def test_the_share_is_that_of_the_last_half_minute(clocks):
    governor = Governor(0.6)
    for _ in range(20):
        pass_time(clocks, governor, cost=0.4)
    assert governor.share == pytest.approx(0.4)
    for _ in range(int(WINDOW / 2) + 1):
        pass_time(clocks, governor, cost=0.1)
    assert governor.share == pytest.approx(0.1)


def test_a_rate_that_somebody_has_set_stays_whatever_it_costs(clocks):
    governor = Governor(0.05, fixed=0.5)
    for _ in range(5):
        pass_time(clocks, governor, cost=0.9)
    assert governor.rate == 0.5


def test_of_requests_that_are_not_looked_at_the_others_take_the_weight():
    governor = Governor(0.05, rate=0.25)
    assert {governor.weight() for _ in range(500)} == {0.0, 4.0}
