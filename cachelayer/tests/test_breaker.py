"""The circuit breaker, by its clock."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachelayer.breaker import CircuitBreaker


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def breaker(clock, changes):
    return CircuitBreaker(3, 5.0, on_change=changes.append, clock=clock)


def fail(breaker, times=3):
    for _ in range(times):
        breaker.failed()


def test_a_new_breaker_lets_everything_pass(breaker):
    assert breaker.allow()
    assert breaker.state == "closed"


def test_it_opens_after_so_many_failures_in_a_row(breaker):
    fail(breaker, 2)
    assert breaker.allow()
    breaker.failed()
    assert not breaker.allow()
    assert (breaker.state, breaker.times_opened, breaker.refused) == ("open", 1, 1)


def test_a_success_in_between_starts_the_count_anew(breaker):
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_it_refuses_until_the_time_has_passed(breaker, clock):
    fail(breaker)
    clock.now += 4.9
    assert not breaker.allow()
    clock.now += 0.1
    assert breaker.allow()
    assert breaker.state == "half-open"


def test_it_lets_one_probe_out_at_a_time(breaker, clock):
    fail(breaker)
    clock.now += 5.0
    assert [breaker.allow() for _ in range(5)] == [True, False, False, False, False]


def test_a_probe_that_succeeds_closes_it(breaker, clock):
    fail(breaker)
    clock.now += 5.0
    breaker.allow()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.allow()
    assert breaker.failures_in_a_row == 0


def test_a_probe_that_fails_opens_it_for_as_long_again(breaker, clock):
    fail(breaker)
    clock.now += 5.0
    breaker.allow()
    breaker.failed()
    clock.now += 4.9
    assert not breaker.allow()
    clock.now += 0.1
    assert breaker.allow()
    assert breaker.times_opened == 2


def test_a_probe_that_never_reports_is_replaced(breaker, clock):
    fail(breaker)
    clock.now += 5.0
    assert breaker.allow()
    clock.now += 5.0
    assert [breaker.allow(), breaker.allow()] == [True, False]


def test_late_reports_do_not_close_an_open_breaker(breaker):
    fail(breaker)
    breaker.succeeded()
    assert breaker.state == "open"


def test_late_failures_do_not_keep_it_open_for_longer(breaker, clock):
    fail(breaker)
    clock.now += 4.0
    fail(breaker)
    clock.now += 1.0
    assert breaker.allow()
    assert breaker.times_opened == 1


def test_each_change_is_told_once(breaker, clock, changes):
    fail(breaker)
    clock.now += 5.0
    breaker.allow()
    clock.now += 5.0
    breaker.allow()
    breaker.succeeded()
    breaker.succeeded()
    assert changes == ["open", "half-open", "closed"]


def test_who_hears_of_a_change_may_use_the_breaker(clock):
    seen: list[bool] = []
    brittle = CircuitBreaker(1, 5.0, on_change=lambda _: seen.append(brittle.allow()), clock=clock)
    brittle.failed()
    assert seen == [False]


def test_of_many_threads_one_is_the_probe(breaker, clock):
    fail(breaker)
    clock.now += 5.0
    gate = threading.Barrier(8)
    allowed = []

    def ask():
        gate.wait()
        allowed.append(breaker.allow())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 1


@pytest.mark.parametrize(("failures", "reset_after"), [(0, 5.0), (-1, 5.0), (1, 0.0)])
def test_a_breaker_that_could_not_work_is_refused(failures, reset_after):
    with pytest.raises(ValueError, match="at least one failure"):
        CircuitBreaker(failures, reset_after)


@given(st.lists(st.sampled_from(["allow", "succeeded", "failed", "wait"]), max_size=60))
def test_it_never_stays_shut(steps):
    """Whatever was reported or not, a while later somebody may try."""
    clock = Clock()
    breaker = CircuitBreaker(2, 5.0, clock=clock)
    for step in steps:
        if step == "wait":
            clock.now += 2.0
        else:
            getattr(breaker, step)()
    clock.now += 5.0
    assert breaker.allow()
