"""Of two that are compared one works at a time, and both go on in the end."""

import subprocess
import sys
from contextlib import ExitStack

import psutil
import pytest

from cachelayer.tests.servers import until
from performance.benchmarks.observer_turns import environments
from performance.benchmarks.turns import Side, in_turns

# A process with a child, as a server has; both wait until they are ended.
FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("ready", flush=True)
child.wait()
"""


@pytest.fixture
def sides():
    with ExitStack() as stack:
        found = []
        for is_watched in (True, False):
            family = subprocess.Popen(
                [sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True
            )
            stack.callback(family.wait)
            stack.callback(end, family.pid)
            assert family.stdout is not None
            stack.enter_context(family.stdout)
            assert family.stdout.readline() == "ready\n"
            found.append(Side(family.pid, is_watched))
        yield found


def end(pid):
    first = psutil.Process(pid)
    for process in (*first.children(), first):
        process.kill()


def are_stopped(side):
    first = psutil.Process(side.pid)
    (child,) = first.children()
    return [process.status() == psutil.STATUS_STOPPED for process in (first, child)]


def test_while_one_works_the_other_is_stopped(sides):
    for number in in_turns(sides, 2, lambda side: side.add(1, 1, [])):
        assert all(all(are_stopped(side)) for side in sides), f"round {number}"
    watched, unwatched = sides
    assert (watched.done, unwatched.done) == (6, 2)

    def turn(side):
        assert not any(are_stopped(side))
        assert all(are_stopped(unwatched if side is watched else watched))

    list(in_turns(sides, 1, turn))


def test_both_go_on_when_a_turn_fails(sides):
    def turn(side):
        raise RuntimeError(side.pid)

    with pytest.raises(RuntimeError):
        list(in_turns(sides, 1, turn))
    assert not any(any(are_stopped(side)) for side in sides)


def test_a_side_is_told_by_what_it_did_a_second_and_how_long_one_in_twenty_took():
    side = Side(1, is_watched=True)
    side.add(2.0, 60, [0.1] * 60)
    side.add(2.0, 40, [0.2] * 40)
    assert (side.rate, side.p95) == (25, 200)


def test_what_is_computed_in_a_turn_counts_for_who_has_it(sides):
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        side, (_, other) = Side(busy.pid, is_watched=True), sides

        def turn(whose):
            began = side.computed()
            if whose is side:
                until(lambda: side.computed() >= began + 0.05)
            whose.add(1, 5, [])

        try:
            list(in_turns([side, other], 1, turn))
        finally:
            busy.kill()
    assert side.cpu >= 0.15
    assert side.cpu_each == pytest.approx(1000 * side.cpu / 15)
    assert other.cpu < side.cpu


def test_of_two_starts_each_is_first_in_one_and_both_hash_alike():
    first, second = list(environments(0)), list(environments(1))
    assert [is_watched for is_watched, _ in (*first, *second)] == [True, False, False, True]
    for start, number in ((first, "0"), (second, "1")):
        for is_watched, environment in start:
            assert environment == {
                "PERFORMANCE_ENABLED": str(is_watched).lower(),
                "PYTHONHASHSEED": number,
            }
