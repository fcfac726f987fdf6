"""What staff does with jobs: only with permission, bounded, and never without a trace."""

from collections import Counter

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client as Browser

from jobs.admin import acts
from jobs.models import Job, State
from jobs.tests.admins import browser_of, end, page_of, said, submit

LIST = "/admin/jobs/job/"


@pytest.fixture
def mine(tenant):
    return tenant.client


@pytest.fixture
def staff(db):
    """Somebody who may act on jobs, and nothing else."""
    return browser_of("view_job", "change_job")


def act(browser, name, *jobs, **others):
    """Choose an action for selected jobs; returns what is said of it."""
    data = {"action": name, "_selected_action": [str(job.id) for job in jobs]} | others
    return said(browser.post(LIST, data))


def press(browser, name, job):
    """Press a button on a job's page; returns what is said of it."""
    return said(browser.post(f"{LIST}{job.id}/act/{name}/"))


def states():
    return Counter(Job.objects.values_list("state", flat=True))


def history(job):
    return [
        (entry.user.username, entry.change_message)
        for entry in LogEntry.objects.filter(object_id=str(job.id))
    ]


def test_selected_jobs_are_cancelled(staff, mine):
    jobs = [submit(mine), submit(mine), end(submit(mine))]
    assert act(staff, "cancel", *jobs) == "2 cancelled. 1 had ended already."
    assert states() == {State.CANCELLED: 2, State.FAILED: 1}


def test_jobs_of_several_clients_are_cancelled_at_once(staff, mine, other_tenant):
    jobs = [submit(mine), submit(other_tenant.client)]
    assert act(staff, "cancel", *jobs) == "2 cancelled."
    assert states() == {State.CANCELLED: 2}


def test_failed_and_cancelled_jobs_are_submitted_again(staff, mine):
    failed, cancelled = end(submit(mine)), end(submit(mine), state="cancelled")
    assert act(staff, "retry", failed, cancelled, submit(mine)) == (
        "2 submitted again. 1 had neither failed nor been cancelled."
    )
    assert set(Job.objects.exclude(retry_of=None).values_list("retry_of", flat=True)) == {
        failed.id,
        cancelled.id,
    }


def test_dead_letters_are_requeued_once(staff, mine):
    dead, failed = end(submit(mine), error_code="worker_lost"), end(submit(mine))
    assert act(staff, "requeue", dead, failed) == "1 requeued. 1 were no dead letters."
    assert act(staff, "requeue", dead) == "0 requeued. 1 had been submitted again already."
    again = Job.objects.get(retry_of=dead.id)
    assert (again.url, again.state) == (dead.url, State.QUEUED)


def test_a_button_on_the_page_of_a_job_does_the_same(staff, mine):
    job = submit(mine)
    assert f"{job.id}/act/cancel/" in page_of(staff, f"job/{job.id}/change/")
    assert press(staff, "cancel", job) == "1 cancelled."
    page = page_of(staff, f"job/{job.id}/change/")
    assert f"{job.id}/act/cancel/" not in page
    assert f"{job.id}/act/retry/" in page


def test_who_did_what_is_in_the_history_of_each_job(staff, mine):
    jobs = [submit(mine), submit(mine)]
    act(staff, "cancel", *jobs)
    press(staff, "retry", jobs[0])
    again = Job.objects.get(retry_of=jobs[0].id)
    name = "staff-view_job-change_job"
    assert history(jobs[1]) == [(name, "Cancelled.")]
    assert history(jobs[0])[0] == (name, f"Submitted again as {again.id}.")
    assert "Cancelled." in page_of(staff, f"job/{jobs[0].id}/history/")


def test_what_was_not_done_is_not_in_the_history(staff, mine):
    job = end(submit(mine))
    act(staff, "cancel", job)
    assert history(job) == []


def test_somebody_who_may_only_view_cannot_act(mine):
    viewer = browser_of("view_job")
    job = submit(mine)
    data = {"action": "cancel", "_selected_action": [str(job.id)]}
    viewer.post(LIST, data)
    assert viewer.post(f"{LIST}{job.id}/act/cancel/").status_code == 403
    assert states() == {State.QUEUED: 1}
    assert history(job) == []


def test_a_visitor_is_sent_to_the_login(mine):
    job = submit(mine)
    response = Browser().post(f"{LIST}{job.id}/act/cancel/")
    assert response.headers["Location"].startswith("/admin/login/")
    assert states() == {State.QUEUED: 1}


def test_a_link_cannot_act(staff, mine):
    job = submit(mine)
    assert staff.get(f"{LIST}{job.id}/act/cancel/").status_code == 405
    assert states() == {State.QUEUED: 1}


def test_another_site_cannot_act(mine, admin_user):
    careful = Browser(enforce_csrf_checks=True)
    careful.force_login(admin_user)
    job = submit(mine)
    assert careful.post(f"{LIST}{job.id}/act/cancel/").status_code == 403
    assert states() == {State.QUEUED: 1}


@pytest.mark.parametrize("path", ["{id}/act/explode/", "nothing/act/cancel/"])
def test_there_is_nothing_to_do_elsewhere(staff, mine, path):
    job = submit(mine)
    assert staff.post(LIST + path.format(id=job.id)).status_code == 404


def test_one_action_takes_so_many_jobs_at_most(staff, mine, monkeypatch):
    monkeypatch.setattr(acts, "MOST_AT_ONCE", 2)
    jobs = [submit(mine) for _ in range(3)]
    assert act(staff, "cancel", jobs[0], select_across="1") == (
        "2 cancelled. Only the first 2 were taken: do it again for the rest."
    )
    assert states() == {State.CANCELLED: 2, State.QUEUED: 1}


def test_an_action_on_the_whole_list_keeps_to_its_filters(staff, mine):
    end(submit(mine))
    dead = end(submit(mine), error_code="worker_lost")
    data = {"action": "retry", "_selected_action": [str(dead.id)], "select_across": "1"}
    response = staff.post(f"{LIST}?dead=yes", data)
    assert said(response) == "1 submitted again."
