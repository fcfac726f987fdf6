"""Ticks: each makes one job, whatever dies, and those that were missed do as they are told."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from django.db import Error, connection, transaction

from jobs.engine.duties import DUTIES, register, run
from jobs.engine.queue import JobSpec
from jobs.engine.schedules import change_schedule, create_schedule, template_of, tick
from jobs.models import Client, Duty, Job, Schedule
from tests.support import make_tenant

NOON = datetime.fromisoformat("2026-05-05T12:00:00+00:00")
URL = "http://example.com/"


@pytest.fixture
def mine(db):
    return make_tenant().client


def new_schedule(client, now=NOON, job=None, **values):
    spec = JobSpec(url=URL, formats=("html",), max_attempts=2, timeout=30, **job or {})
    values = {
        "name": f"schedule {Schedule.objects.count()}",
        "cron": "*/5 * * * *",
        "template": template_of(spec),
        **values,
    }
    schedule = create_schedule(client=client, now=now, values=values)
    schedule.refresh_from_db()
    return schedule


def tick_at(moment):
    with transaction.atomic():
        return tick(moment, 100)


def minutes(count):
    return NOON + timedelta(minutes=count)


def made():
    return Job.objects.count()


def next_run():
    return Schedule.objects.get().next_run_at


def test_nothing_is_made_before_the_tick(mine):
    new_schedule(mine)
    assert tick_at(minutes(4)) == 0
    assert made() == 0


def test_a_tick_makes_a_job_of_the_template_that_names_the_schedule(mine):
    schedule = new_schedule(mine, job={"priority": 3, "metadata": {"a": 1}})
    assert tick_at(minutes(5)) == 1
    job = Job.objects.get()
    assert (job.client_id, job.schedule_id, job.url) == (mine.id, schedule.id, URL)
    assert (job.priority, job.metadata, job.max_attempts, job.formats) == (3, {"a": 1}, 2, ["html"])
    assert (job.state, job.hold) == ("queued", "")


def test_a_tick_is_served_once_and_the_next_one_in_its_time(mine):
    new_schedule(mine)
    served = [tick_at(minutes(count)) for count in (5, 5, 6, 9, 10)]
    assert served == [1, 0, 0, 0, 1]
    assert made() == 2


def test_on_the_day_that_clocks_go_back_a_daily_schedule_ticks_once(mine):
    start = datetime.fromisoformat("2026-10-24T12:00:00+00:00")
    new_schedule(mine, now=start, cron="30 2 * * *", timezone="Europe/Berlin")
    for hour in range(24):
        tick_at(start + timedelta(hours=hour, minutes=30))
    assert made() == 1


def test_on_the_day_that_clocks_go_forward_it_ticks_all_the_same(mine):
    start = datetime.fromisoformat("2026-03-28T12:00:00+00:00")
    new_schedule(mine, now=start, cron="30 2 * * *", timezone="Europe/Berlin")
    for hour in range(24):
        tick_at(start + timedelta(hours=hour))
    assert made() == 1


def test_a_tick_that_is_served_within_a_minute_was_not_missed(mine):
    new_schedule(mine)
    tick_at(minutes(5) + timedelta(seconds=59))
    assert made() == 1


def test_missed_ticks_are_skipped_unless_the_schedule_says_otherwise(mine):
    new_schedule(mine)
    tick_at(minutes(57))
    assert (made(), next_run()) == (0, minutes(60))


def test_missed_ticks_are_made_up_for_with_one_job_if_it_says_so(mine):
    new_schedule(mine, missed="run_once")
    tick_at(minutes(57))
    assert (made(), next_run()) == (1, minutes(60))


@pytest.mark.parametrize("missed", ["skip", "run_once"])
def test_the_tick_of_this_minute_is_no_missed_one_and_makes_up_for_them(mine, missed):
    new_schedule(mine, missed=missed)
    tick_at(minutes(55) + timedelta(seconds=1))
    assert made() == 1


def test_years_of_missed_ticks_are_passed_over_at_once(mine):
    new_schedule(mine, cron="* * * * *", missed="run_once")
    tick_at(NOON + timedelta(days=3650))
    assert made() == 1


def test_a_paused_schedule_does_not_tick(mine):
    new_schedule(mine, is_paused=True)
    assert tick_at(minutes(5)) == 0


def test_a_resumed_schedule_goes_on_with_the_next_tick(mine):
    schedule = new_schedule(mine, is_paused=True, missed="run_once")
    now = minutes(57)
    change_schedule(client=mine, schedule_id=schedule.id, now=now, values={"is_paused": False})
    assert (tick_at(now), next_run()) == (0, minutes(60))


def test_another_expression_counts_from_now(mine):
    schedule = new_schedule(mine, cron="0 0 1 1 *")
    values = {"cron": "*/10 * * * *"}
    change_schedule(client=mine, schedule_id=schedule.id, now=NOON, values=values)
    assert next_run() == minutes(10)


def test_a_deactivated_client_gets_no_jobs_and_its_schedules_go_on(mine):
    new_schedule(mine, missed="run_once")
    Client.objects.filter(id=mine.id).update(is_active=False)
    assert tick_at(minutes(5)) == 1
    assert (made(), next_run()) == (0, minutes(10))


def test_an_off_peak_job_waits_for_off_peak_hours(mine, configure):
    configure(off_peak_hours="22:00-06:00")
    new_schedule(mine, job={"off_peak": True}, now=NOON + timedelta(days=3650))
    tick_at(NOON + timedelta(days=3650, minutes=5))
    job = Job.objects.get()
    assert (job.hold, job.ready_at, f"{job.run_at:%H:%M}") == ("off_peak", None, "22:00")


def test_a_schedule_that_cannot_go_on_is_paused_and_holds_up_no_other(mine):
    broken = new_schedule(mine)
    new_schedule(mine)
    Schedule.objects.filter(id=broken.id).update(timezone="Europe/Atlantis")
    assert tick_at(minutes(5)) == 2
    broken.refresh_from_db()
    assert broken.is_paused
    assert made() == 1


def test_many_due_schedules_are_served_in_bounded_pieces(mine):
    for _ in range(5):
        new_schedule(mine)
    with transaction.atomic():
        assert [tick(minutes(5), 2) for _ in range(4)] == [2, 2, 1, 0]
    assert made() == 5


def test_a_deleted_schedule_leaves_its_jobs_which_remember_it(mine):
    schedule = new_schedule(mine)
    tick_at(minutes(5))
    Schedule.objects.get().delete()
    assert Job.objects.get().schedule_id == schedule.id


@pytest.fixture
def due_schedule(transactional_db):
    new_schedule(make_tenant().client)
    register(NOON)
    return minutes(5)


@pytest.mark.django_db(transaction=True)
def test_workers_that_tick_at_once_make_one_job(due_schedule):
    at_once = Barrier(4)

    def one_worker(number):
        at_once.wait()
        run(DUTIES["schedules"], now=due_schedule, worker=f"worker-{number}")
        connection.close()

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(one_worker, range(4)))
    assert made() == 1


@pytest.mark.django_db(transaction=True)
def test_two_ticks_at_once_without_the_duty_make_one_job_too(due_schedule):
    def another():
        try:
            return tick_at(due_schedule)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as workers, transaction.atomic():
        assert tick(due_schedule, 100) == 1
        assert workers.submit(another).result() == 0
    assert made() == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_dies_amid_a_tick_leaves_it_to_the_next_one(due_schedule):
    with pytest.raises(Error), transaction.atomic():  # noqa: PT012
        assert tick(due_schedule, 100) == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    connection.close()
    assert made() == 0
    assert Duty.objects.get(name="schedules").next_at < due_schedule
    run(DUTIES["schedules"], now=due_schedule, worker="next")
    assert made() == 1
