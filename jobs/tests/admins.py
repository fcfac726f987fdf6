"""Staff and jobs for the tests of the admin."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client as Browser

from jobs.engine.queue import JobSpec, enqueue
from jobs.models import Attempt, Job

# A second apart, the first the newest. PostgreSQL makes such ids by itself from 18 on.
MANY_JOBS = """
INSERT INTO jobs_job (
    id, client_id, url, formats, metadata, priority, max_attempts, timeout, state, attempt, crashes,
    hold, run_at, off_peak, ready_at, created_at, started_at, finished_at, worker, error_code,
    error_message
)
SELECT
    overlay(overlay(md5(random()::text) PLACING lpad(to_hex(
        floor(extract(epoch FROM now()) * 1000)::bigint - 1000 * number
    ), 12, '0') FROM 1) PLACING '7' FROM 13)::uuid,
    %(client)s,
    'http://host-' || number %% 50 || '.example/' || number, '{html}', '{}', 1, 3, 30, %(state)s,
    CASE %(state)s WHEN 'queued' THEN 0 ELSE 1 END, 0, '', now(), false, now(), now(), now(),
    CASE %(state)s WHEN 'queued' THEN NULL ELSE now() END, 'w', %(error)s, ''
FROM generate_series(1, %(count)s) number
"""


def browser_of(*permissions: str) -> Browser:
    """A browser in which somebody of the staff is logged in who may only do this."""
    staff = User.objects.create(username=f"staff-{'-'.join(permissions)}", is_staff=True)
    wanted = Permission.objects.filter(content_type__app_label="jobs", codename__in=permissions)
    staff.user_permissions.set(wanted)
    browser = Browser()
    browser.force_login(staff)
    return browser


def submit(client, url="http://shop.example/", **options):
    """A queued job."""
    fields: dict[str, Any] = {"formats": ("html",), "max_attempts": 3, "timeout": 30} | options
    spec = JobSpec(url=url, **fields)
    enqueue([spec], client_id=client.id)
    return Job.objects.get(id=spec.id)


def many_jobs(client, count, state="succeeded", error=""):
    """So many jobs at once, of 50 hosts and of different ages."""
    parameters = {"client": client.id, "count": count, "state": state, "error": error}
    with connection.cursor() as cursor:
        cursor.execute(MANY_JOBS, parameters)


def end(job, state="failed", error_code="timeout", phases=None):
    """Let a job have run once and ended."""
    moment = job.created_at
    values = {"started_at": moment, "finished_at": moment, "attempt": 1, "worker": "vm/1"}
    Job.objects.filter(id=job.id).update(
        state="running", claim_token=job.id, started_at=moment, attempt=1
    )
    code = error_code if state == "failed" else ""
    Job.objects.filter(id=job.id).update(
        state=state, claim_token=None, error_code=code, error_message="Too slow.", **values
    )
    Attempt.objects.create(
        job=job,
        number=1,
        worker="vm/1",
        started_at=moment,
        finished_at=moment,
        error_code=code,
        phases=phases or {},
    )
    job.refresh_from_db()
    return job


def said(response):
    """The last message that an action left for the next page."""
    assert response.status_code == 302, response
    return str(list(get_messages(response.wsgi_request))[-1])


def page_of(browser, path):
    """The text of a page of the admin."""
    response = browser.get(f"/admin/jobs/{path}")
    assert response.status_code == 200, path
    return response.content.decode()
