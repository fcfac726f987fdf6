"""Who computes is charged for it, and who is held up by others is told so."""

import time

import gevent
import greenlet
import pytest
from django.conf import settings

from performance.middleware import begin, end
from performance.recording.cpu import Switches, charged
from performance.recording.heartbeat import BEAT, Heartbeat, heartbeat
from performance.recording.places import origin, place
from performance.recording.watch import Watch


def compute(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_what_is_late_holds_up_what_runs_meanwhile():
    heart = Heartbeat()
    assert heart.held_up(1000.0) == 0
    heart.beat(10.0)
    assert heart.beat(10.0 + BEAT + 0.2) == pytest.approx(0.2)
    # Overdue, and not yet told by any beat.
    assert heart.held_up(heart.due + 0.3) == pytest.approx(0.5)


def test_a_stretch_holds_up_only_from_when_the_beat_was_due():
    heart = Heartbeat(due=10.0)
    assert heart.held_up_by(9.9, 10.5) == pytest.approx(0.5)
    assert heart.held_up_by(10.4, 10.5) == pytest.approx(0.1)
    assert heart.held_up_by(9.0, 9.9) == 0


@pytest.fixture
def switches():
    listening = Switches()
    yield listening
    greenlet.settrace(None)


def test_of_two_greenlets_the_one_that_computes_is_charged(switches):
    def run(work):
        watch = Watch()
        switches.begin(watch)
        work()
        switches.end(watch)
        return watch.cpu

    def burn():
        for _ in range(4):
            compute(0.02)
            gevent.sleep(0)

    busy, idle = gevent.spawn(run, burn), gevent.spawn(run, lambda: gevent.sleep(0.2))
    gevent.joinall([busy, idle], raise_error=True)
    assert busy.value > idle.value
    assert switches.running == 0


def test_a_greenlet_is_not_held_up_by_what_it_does_itself(switches):
    heartbeat.due = time.perf_counter()
    watch = Watch()
    try:
        switches.begin(watch)
        compute(0.02)
        switches.end(watch)
    finally:
        heartbeat.stop()
    assert watch.lag == pytest.approx(0, abs=1e-3)
    assert watch.cpu >= 20


def test_nobody_listens_to_switches_while_no_greenlet_is_charged(switches):
    watch = Watch()
    assert greenlet.gettrace() is None
    switches.begin(watch)
    assert greenlet.gettrace() is not None
    switches.end(watch)
    assert greenlet.gettrace() is None


@pytest.fixture
def heard():
    """What somebody else hears of switches."""
    events = []
    greenlet.settrace(lambda event, pair: events.append(event))
    yield events
    greenlet.settrace(None)


def test_who_listened_to_switches_before_still_does(switches, heard):
    switches.begin(watch := Watch())
    gevent.sleep(0)
    assert "switch" in heard
    heard.clear()
    switches.end(watch)
    gevent.sleep(0)
    assert "switch" in heard


def test_who_begins_to_listen_to_switches_meanwhile_still_does(switches):
    heard = []
    switches.begin(first := Watch())
    before = greenlet.gettrace()

    def hear(event, pair):
        heard.append(event)
        before(event, pair)

    greenlet.settrace(hear)
    switches.end(first)
    # Its end must not be the other's, and it is not told twice.
    switches.begin(second := Watch())
    compute(0.01)
    gevent.sleep(0)
    switches.end(second)
    assert "switch" in heard
    assert second.cpu >= 10


def test_a_request_with_a_thread_to_itself_is_charged_its_processor_time():
    computing, waiting = Watch(), Watch()
    with charged(computing):
        compute(0.02)
    with charged(waiting):
        time.sleep(0.02)
    assert computing.cpu > waiting.cpu
    assert (computing.lag, waiting.lag) == (0, 0)


def test_a_request_that_is_not_looked_at_is_not_charged():
    watch = Watch(weight=0.0)
    token = begin(watch)
    compute(0.01)
    end(watch, token)
    assert watch.cpu == 0


def test_the_projects_own_code_is_asked_before_libraries():
    library = place("/x/lib/python3.11/site-packages/lib/core.py", 3, "run")
    ours = place(f"{settings.BASE_DIR}/jobs/selectors.py", 7, "find")
    console = place(f"{settings.BASE_DIR}/performance/middleware.py", 7, "call")
    assert (library.key, ours.key) == ("lib/core.py:run", "jobs/selectors.py:find")
    assert origin([library, console, ours]) == ours
    assert origin([library, console]) == library
    assert origin([]) is None
