"""Duties: done by one worker at a time, in pieces, and written down."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection

from jobs.engine import duties
from jobs.engine.duties import DUTIES, DutySpec, DutyThread, due, piece, register, run
from jobs.models import Duty

NOON = datetime(2026, 5, 5, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=2)

pytestmark = pytest.mark.django_db


class Work:
    """Does what it is told, and remembers how often."""

    def __init__(self, *rows):
        self.rows = list(rows)
        self.calls = 0

    def __call__(self, now, most):
        self.calls += 1
        rows = self.rows.pop(0)
        if isinstance(rows, Exception):
            raise rows
        return rows


@pytest.fixture
def duty(db):
    def duty(*rows, most=10):
        Duty.objects.get_or_create(name="test", defaults={"next_at": NOON})
        return DutySpec("test", 60, Work(*rows), most)

    return duty


def record():
    return Duty.objects.get(name="test")


def done(duty, now=LATER, budget=60.0):
    run(duty, now=now, worker="worker-1", budget=budget)
    return duty.work.calls


def test_every_duty_has_a_row_and_keeps_it():
    register(NOON)
    Duty.objects.filter(name="schedules").update(rows_in_all=7)
    register(LATER)
    assert set(Duty.objects.values_list("name", flat=True)) == set(DUTIES)
    assert Duty.objects.get(name="schedules").rows_in_all == 7


def test_a_duty_is_due_at_the_next_multiple_of_its_period():
    assert DUTIES["schedules"].next_after(NOON) == NOON + timedelta(minutes=1)
    assert DUTIES["schedules"].next_after(LATER - timedelta(seconds=1)) == LATER


def test_what_is_due_comes_with_the_databases_time_and_schedules_first():
    register(NOON)
    Duty.objects.update(next_at=NOON + timedelta(days=36_500))
    assert due() == (None, [])
    Duty.objects.filter(name__in=["old_jobs", "schedules"]).update(next_at=NOON)
    now, found = due()
    assert now is not None
    assert now > NOON
    assert [one.name for one in found] == ["schedules", "old_jobs"]


def test_a_duty_goes_on_until_there_is_less_than_a_piece(duty):
    assert done(duty(10, 10, 3, 5)) == 3
    stored = record()
    assert (stored.rows, stored.rows_in_all, stored.worker) == (23, 23, "worker-1")
    assert (stored.last_run_at, stored.next_at) == (LATER, LATER + timedelta(minutes=1))
    assert not stored.is_behind


def test_a_duty_beyond_its_time_stays_due_and_goes_on_later(duty):
    busy = duty(10, 10, 1)
    assert done(busy, budget=0) == 1
    assert (record().is_behind, record().next_at) == (True, NOON)
    assert done(busy) == 3
    assert (record().is_behind, record().rows) == (False, 21)


def test_a_duty_that_is_not_due_is_not_done(duty):
    assert done(duty(0), now=NOON - timedelta(seconds=1)) == 0


def test_a_duty_is_not_done_twice_in_its_period(duty):
    regular = duty(1, 1)
    done(regular)
    assert done(regular) == 1
    assert done(regular, now=LATER + timedelta(minutes=1)) == 2
    assert (record().rows, record().rows_in_all) == (1, 2)


def test_an_error_is_written_down_and_the_duty_comes_again_soon(duty, caplog):
    failing = duty(DatabaseError("no such table"), 4)
    assert done(failing) == 1
    assert (record().error, record().next_at) == ("no such table", LATER + timedelta(seconds=10))
    assert "duty test failed" in caplog.text
    done(failing, now=LATER + timedelta(minutes=1))
    assert (record().error, record().rows) == ("", 4)


@pytest.mark.django_db(transaction=True)
def test_a_duty_that_another_worker_is_at_is_left_to_it(duty):
    contended = duty(0)
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('jobs.duty'), hashtext('test'))")
        assert not piece(contended, now=LATER, worker="worker-1")
        cursor.execute("SELECT pg_advisory_unlock_all()")
    other.close()
    assert contended.work.calls == 0
    assert done(contended) == 1


def test_a_worker_that_stops_amid_a_piece_loses_the_lock_soon(duty):
    def idle(now, most):
        with connection.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            assert cursor.fetchone() == ("5s",)
        return 0

    run(replace(duty(), work=idle), now=LATER, worker="worker-1")
    assert record().error == ""


@pytest.fixture
def thread(transactional_db, monkeypatch):
    """Starts a worker's duties, of which there is one."""
    started = []

    def start(work):
        monkeypatch.setattr(duties, "LOOK_EVERY", 0.01)
        monkeypatch.setattr(duties, "RETRY_AFTER", 0)
        monkeypatch.setattr(duties, "DUTIES", {"test": DutySpec("test", 60, work)})
        Duty.objects.create(name="test", next_at=NOON)
        started.append(DutyThread("worker-1"))
        started[0].start()

    yield start
    started[0].stop()
    started[0].join(10)


@pytest.mark.django_db(transaction=True)
def test_a_worker_does_what_is_due(thread):
    done = Event()

    def work(now, most):
        done.set()
        return 0

    thread(work)
    assert done.wait(10)


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_loses_postgresql_goes_on_when_it_is_back(thread):
    calls, again = [], Event()

    def work(now, most):
        calls.append(now)
        if len(calls) > 1:
            again.set()
            return 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return 0

    thread(work)
    assert again.wait(10)


def test_operators_see_the_table_of_duties():
    register(NOON)
    Duty.objects.filter(name="old_jobs").update(error="broken\nhere", rows=5, last_run_at=NOON)
    out = io.StringIO()
    call_command("duties", stdout=out)
    lines = {line.split()[0]: line.split() for line in out.getvalue().splitlines()}
    assert lines["old_jobs"][-1] == "broken"
    assert lines["old_jobs"][3:5] == ["2026-05-05", "12:00:00"]
    assert lines["schedules"][3:] == ["never", "0", "0", "ok"]
