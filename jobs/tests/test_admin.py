"""Lists and pages of the admin: what they show, and what they never render."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from jobs.engine.schedules import create_schedule
from jobs.models import Batch, Delivery, Domain, Duty, Job, Result
from jobs.tests.admins import browser_of, end, many_jobs, page_of, submit
from jobs.webhooks.endpoints import register_endpoint

HOSTILE = "http://example.com/<script>alert(1)</script>"


@pytest.fixture
def mine(tenant):
    return tenant.client


@pytest.fixture
def everything(mine):
    """A row of each kind, under the name of its list."""
    job = end(submit(mine))
    endpoint = register_endpoint(client=mine, url="https://hook.example/", events=["job.failed"])
    now = timezone.now()
    delivery = Delivery.objects.create(
        id=job.id,
        endpoint=endpoint,
        event="job.failed",
        subject=job.id,
        next_attempt_at=now,
        created_at=now,
    )
    schedule = create_schedule(
        client=mine, now=now, values={"name": "s", "cron": "0 3 * * *", "template": {}}
    )
    return {
        "apikey": mine.keys.get(),
        "batch": Batch.objects.create(client=mine, total=4, ended=1),
        "client": mine,
        "delivery": delivery,
        "domain": Domain.objects.create(host="a.example", next_at=now),
        "duty": Duty.objects.create(name="sweep", next_at=now),
        "job": job,
        "schedule": schedule,
        "webhookendpoint": endpoint,
    }


KINDS = ["apikey", "batch", "client", "delivery", "domain", "duty", "job", "schedule"]
KINDS += ["webhookendpoint"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_and_the_page_of_a_row_open(admin_client, everything, kind):
    row = everything[kind]
    assert f"{row.pk}/change/" in page_of(admin_client, f"{kind}/")
    page_of(admin_client, f"{kind}/{row.pk}/change/")


@pytest.mark.parametrize("kind", KINDS)
def test_somebody_who_may_only_view_sees_no_action(everything, kind):
    viewer = browser_of(f"view_{kind}")
    row = everything[kind]
    assert 'name="action"' not in page_of(viewer, f"{kind}/")
    page = page_of(viewer, f"{kind}/{row.pk}/change/")
    assert "/act/" not in page
    assert 'name="_save"' not in page


@pytest.mark.parametrize("kind", KINDS)
def test_somebody_without_permission_sees_nothing(everything, kind):
    stranger = browser_of()
    assert stranger.get(f"/admin/jobs/{kind}/").status_code == 403
    assert stranger.get(f"/admin/jobs/{kind}/{everything[kind].pk}/change/").status_code == 403


@pytest.mark.parametrize("kind", ["apikey", "batch", "delivery", "job", "schedule"])
def test_what_only_the_service_writes_can_be_neither_added_nor_deleted(
    admin_client, everything, kind
):
    row = everything[kind]
    assert admin_client.get(f"/admin/jobs/{kind}/add/").status_code == 403
    assert admin_client.post(f"/admin/jobs/{kind}/{row.pk}/delete/").status_code == 403


def test_a_client_cannot_be_deleted_with_all_its_jobs(admin_client, mine):
    assert admin_client.post(f"/admin/jobs/client/{mine.id}/delete/").status_code == 403


def test_secrets_are_not_shown(admin_client, everything):
    endpoint = everything["webhookendpoint"]
    for path in (f"webhookendpoint/{endpoint.id}/change/", "webhookendpoint/"):
        assert endpoint.secret not in page_of(admin_client, path)
    key = everything["apikey"]
    for path in (f"apikey/{key.id}/change/", f"client/{key.client_id}/change/"):
        page = page_of(admin_client, path)
        assert key.id in page
        assert "digest" not in page.lower()


def test_a_hostile_url_is_shown_as_text(admin_client, mine):
    job = submit(mine, url=HOSTILE)
    for path in ("job/", f"job/{job.id}/change/"):
        page = page_of(admin_client, path)
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert(1)" not in page


def test_a_javascript_url_cannot_be_clicked(admin_client, mine):
    job = submit(mine, url="javascript:alert(1)")
    endpoint = register_endpoint(client=mine, url="javascript:alert(2)", events=["job.failed"])
    for path in (
        *("job/", f"job/{job.id}/change/"),
        *("webhookendpoint/", f"webhookendpoint/{endpoint.id}/change/"),
    ):
        page = page_of(admin_client, path)
        assert "javascript:alert" in page
        assert 'href="javascript:' not in page


def test_what_a_client_has_written_is_shown_as_text(admin_client, mine):
    job = submit(mine, metadata={"note": "<img src=x onerror=alert(1)>"})
    page = page_of(admin_client, f"job/{job.id}/change/")
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page


def test_a_result_is_not_on_the_page_of_its_job(admin_client, mine):
    job = end(submit(mine), state="succeeded")
    Result.objects.create(
        job=job,
        final_url=HOSTILE,
        status_code=200,
        fetched_at=timezone.now(),
        html="<b>found</b>",
    )
    page = page_of(admin_client, f"job/{job.id}/change/")
    assert "found" not in page
    assert "<script>alert(1)" not in page
    assert f"job/{job.id}/result/html/" in page


@pytest.mark.parametrize("name", ["html", "text", "data"])
def test_a_result_is_a_download_that_no_browser_renders(admin_client, mine, name):
    job = end(submit(mine), state="succeeded")
    Result.objects.create(
        job=job,
        final_url="http://shop.example/",
        status_code=200,
        fetched_at=timezone.now(),
        html="<script>1</script>",
        text="<script>1</script>",
        data={"a": "<script>1</script>"},
    )
    response = admin_client.get(f"/admin/jobs/job/{job.id}/result/{name}/")
    assert "<script>1</script>" in response.content.decode()
    assert response.headers["Content-Type"] in ("text/plain; charset=utf-8", "application/json")
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("sandbox")
    assert admin_client.get(f"/admin/jobs/job/{job.id}/result/links/").status_code == 404
    assert admin_client.get(f"/admin/jobs/job/{job.id}/result/job_id/").status_code == 404
    forbidden = browser_of("view_batch").get(f"/admin/jobs/job/{job.id}/result/{name}/")
    assert forbidden.status_code == 403


def test_pages_of_a_list_follow_one_another_without_gaps(admin_client, mine):
    many_jobs(mine, 250)
    seen, path = [], "job/"
    while path:
        response = admin_client.get(f"/admin/jobs/{path}")
        listed = response.context["cl"]
        seen += [job.id for job in listed.result_list]
        path = f"job/{listed.following}" if listed.has_more else ""
    assert seen == list(Job.objects.order_by("-id").values_list("id", flat=True))


def test_a_short_list_is_counted_and_a_long_one_estimated(admin_client, mine):
    submit(mine)
    assert "1 job" in page_of(admin_client, "job/")
    many_jobs(mine, 250)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_job")
    assert "about 250 jobs" in page_of(admin_client, "job/")


def test_an_estimate_that_is_too_low_says_no_more_than_is_known(admin_client, mine, monkeypatch):
    many_jobs(mine, 250)
    monkeypatch.setattr("jobs.admin.lists.estimate", lambda _rows: 3)
    assert "more than 100 jobs" in page_of(admin_client, "job/")


@pytest.mark.parametrize("parameters", ["p=nonsense", "p=", "o=1.2"])
def test_a_page_that_does_not_exist_is_the_first(admin_client, mine, parameters):
    job = submit(mine)
    assert str(job.id) in page_of(admin_client, f"job/?{parameters}")


@pytest.mark.parametrize("parameters", ["url__icontains=a", "client__owner__password=a"])
def test_nothing_else_can_be_asked_for(admin_client, mine, parameters):
    assert admin_client.get(f"/admin/jobs/job/?{parameters}").status_code == 400


def found(browser, query):
    response = browser.get(f"/admin/jobs/job/?{query}")
    assert response.status_code == 200, response
    return {job.id for job in response.context["cl"].result_list}


def test_jobs_are_found_by_id_by_host_and_by_the_beginning_of_their_url(admin_client, mine):
    here = submit(mine, url="http://shop.example/items/1")
    there = submit(mine, url="http://shop.example/about")
    submit(mine, url="http://other.example/items/1")
    assert found(admin_client, f"q={here.id}") == {here.id}
    assert found(admin_client, "q=SHOP.example") == {here.id, there.id}
    assert found(admin_client, "q=http://shop.example/it") == {here.id}
    assert found(admin_client, "q=shop") == set()
    assert found(admin_client, "q=http://[") == set()


def test_jobs_are_found_by_what_became_of_them(admin_client, mine):
    queued = submit(mine)
    held = submit(mine, run_at=timezone.now() + timedelta(days=1))
    late = end(submit(mine))
    dead = end(submit(mine), error_code="worker_lost")
    assert found(admin_client, "state=queued") == {queued.id, held.id}
    assert found(admin_client, "hold=scheduled") == {held.id}
    assert found(admin_client, "dead=yes") == {dead.id}
    assert found(admin_client, "error=timeout") == {late.id}
    assert found(admin_client, "state=failed&error=worker_lost") == {dead.id}


def test_jobs_are_found_by_their_client(admin_client, mine, other_tenant):
    job = submit(mine)
    other = submit(other_tenant.client)
    assert mine.name == other_tenant.client.name
    assert found(admin_client, f"client={mine.name}") == {job.id, other.id}
    assert found(admin_client, f"client={mine.id}") == {job.id}
    assert found(admin_client, f"client={mine.id}&state=queued") == {job.id}
    assert found(admin_client, "client=nobody&state=queued") == set()


def test_jobs_are_found_by_when_they_were_accepted(admin_client, mine):
    job = submit(mine)
    assert found(admin_client, "created=hour") == {job.id}
    assert found(admin_client, f"day={job.created_at.date()}") == {job.id}
    assert found(admin_client, "day=2020-01-01") == set()
    assert admin_client.get("/admin/jobs/job/?day=yesterday").status_code == 302


def test_jobs_are_found_by_their_batch(admin_client, mine):
    batch = Batch.objects.create(client=mine, total=1)
    job = submit(mine)
    submit(mine)
    Job.objects.filter(id=job.id).update(batch=batch)
    assert found(admin_client, f"batch__id__exact={batch.id}") == {job.id}
    assert f"?batch__id__exact={batch.id}" in page_of(admin_client, "batch/")


def test_what_takes_too_long_says_so(admin_client, mine, monkeypatch):
    submit(mine)
    monkeypatch.setattr("jobs.admin.lists.PATIENCE", 0.05)
    monkeypatch.setattr(
        "jobs.admin.jobs.JobAdmin.read_page",
        lambda *_: list(Job.objects.extra(select={"slow": "pg_sleep(1)"})),
    )
    assert "Narrow it down" in page_of(admin_client, "job/")


def test_a_timeline_shows_phases_and_errors(admin_client, mine):
    job = end(
        submit(mine), phases={"dns": 12.0, "first_byte": 48.0, "queued": 7.0, "queued_for": "quota"}
    )
    Job.objects.filter(id=job.id).update(created_at=F("created_at") - timedelta(seconds=1))
    page = page_of(admin_client, f"job/{job.id}/change/")
    assert 'class="phase-dns" x="0.0" y="0" width="200.0"' in page
    assert 'class="phase-first_byte" x="200.0" y="0" width="800.0"' in page
    assert "Too slow." in page
    assert "style=" not in page[page.index("timeline-heading") :]


def test_a_queued_job_says_what_it_waits_for(admin_client, mine):
    job = submit(mine)
    Domain.objects.create(host=job.host, next_at=timezone.now() + timedelta(hours=1))
    assert "which is scraped gently" in page_of(admin_client, f"job/{job.id}/change/")


def test_a_job_leads_to_what_it_repeats_and_back(admin_client, mine):
    first = end(submit(mine))
    second = submit(mine, retry_of=first.id)
    assert f"/admin/jobs/job/{second.id}/change/" in page_of(
        admin_client, f"job/{first.id}/change/"
    )
    assert f"/admin/jobs/job/{first.id}/change/" in page_of(
        admin_client, f"job/{second.id}/change/"
    )
