"""Filling the cache before anybody asks."""

import pytest

from cachelayer import warming
from cachelayer.decorators import cached
from cachelayer.policy import Policy
from cachelayer.warming import warm, warm_at_start, warmer, warmers

pytestmark = pytest.mark.xdist_group("valkey")


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """No warmers but the test's own."""
    monkeypatch.setattr(warming, "_warmers", {})


def fail():
    raise LookupError("nothing there")


def test_warmers_are_listed_by_name():
    for name in ("b", "a"):
        warmer(name)(lambda: iter(()))
    assert [one.name for one in warmers()] == ["a", "b"]


def test_a_warmer_stays_a_function_that_can_be_called():
    @warmer("numbers")
    def numbers():
        yield lambda: 1

    assert [load() for load in numbers()] == [1]


def test_a_warmed_value_needs_no_load(layer):
    calls = []

    @cached("things", Policy(ttl=60), layer=lambda: layer)
    def double(number):
        calls.append(number)
        return number * 2

    @warmer("doubles")
    def doubles():
        for number in range(3):
            yield lambda number=number: double(number)

    steps = []
    assert warm(warmers()[0], lambda: steps.append(1)) == (3, 0)
    assert [double(number) for number in range(3)] == [0, 2, 4]
    assert (calls, len(steps)) == ([0, 1, 2], 3)


def test_a_value_that_fails_is_counted_and_logged_and_the_rest_is_loaded(caplog):
    warmer("mixed")(lambda: iter([fail, int, fail, int]))
    assert warm(warmers()[0]) == (2, 2)
    assert caplog.text.count("warmer mixed: a value could not be loaded") == 2
    assert "nothing there" in caplog.text


def test_a_warmer_that_fails_itself_is_counted_and_logged(caplog):
    @warmer("broken")
    def broken():
        yield int
        fail()

    assert warm(warmers()[0]) == (1, 1)
    assert "warmer broken: it does not know what to load" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_at_the_start_only_those_run_that_asked_for_it_and_none_stops_the_others(caplog):
    ran = []
    warmer("a", at_start=True)(fail)
    warmer("b", at_start=True)(lambda: iter([lambda: ran.append("b")]))
    warmer("c")(lambda: iter([lambda: ran.append("c")]))
    warm_at_start().join(10)
    assert ran == ["b"]
    assert "warmer a" in caplog.text
