"""The service as its users have it: real HTTP, a real worker, real pages, real kills."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
import requests

from cachelayer.tests.servers import free_ports, until
from jobs.models import Client
from tests.support import ROOT, Api

pytestmark = [pytest.mark.xdist_group("service"), pytest.mark.django_db(transaction=True)]

EXTRACT = {
    "name": "products",
    "baseSelector": "article.product",
    "fields": [
        {"name": "name", "selector": "a.name", "type": "text"},
        {"name": "url", "selector": "a.name", "type": "attribute", "attribute": "href"},
        {"name": "price", "selector": "span.price", "type": "text"},
    ],
}


def feed(site, page=1):
    """What the practice site says of itself, by another way than its pages."""
    return requests.get(f"{site}/feed.json?page={page}", timeout=10).json()


def test_a_submitted_job_runs_and_its_records_are_the_sites(api, worker, site, site_url):
    job = api.finished(api.submit(site_url, extract=EXTRACT, formats=["data", "links"]))
    assert (job["status"], job["attempt"], job["error"]) == ("succeeded", 1, None)
    result = api.get(job["links"]["result"]).json()
    assert set(result) == {"id", "url", "final_url", "status_code", "fetched_at", "data", "links"}
    expected = [(p["name"], p["url"], p["price"]) for p in feed(site)["products"]]
    assert [(r["name"], r["url"], r["price"]) for r in result["data"]] == expected


def test_a_redirect_is_followed_and_named(api, worker, site):
    job_id = api.submit(f"{site}/redirect/3", formats=["metadata"])
    api.finished(job_id)
    result = api.get(f"/api/v1/jobs/{job_id}/result").json()
    assert result["final_url"] == f"{site}/catalogue/page-1"
    assert result["metadata"]["title"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/products/unknown", "http_4xx"),
        ("/catalogue/page-1?status=503", "http_5xx"),
        ("/close", "connection_error"),
        ("/redirect/20", "too_many_redirects"),
        ("/size/20000000", "too_large"),
    ],
)
def test_a_failure_ends_with_a_stable_code(api, worker, site, path, code):
    job = api.finished(api.submit(f"{site}{path}", max_attempts=1))
    assert (job["status"], job["error"]["code"]) == ("failed", code)


def test_a_target_that_is_too_slow_times_out(api, worker, site):
    job = api.finished(api.submit(f"{site}/hang", max_attempts=1, timeout=0.3))
    assert (job["status"], job["error"]["code"]) == ("failed", "timeout")


def test_a_failing_target_is_tried_again(api, worker, site, committed_tenant):
    key = committed_tenant.client.id.hex
    job = api.finished(api.submit(f"{site}/flaky/{key}/1", max_attempts=2))
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1]/", "http://169.254.169.254/"])
def test_an_address_that_is_not_public_is_never_connected_to(api, worker, url):
    job = api.finished(api.submit(url))
    assert (job["status"], job["error"]["code"]) == ("failed", "blocked_target")


def test_a_redirect_inwards_is_not_followed(api, worker, site):
    target = urlencode({"url": "http://127.0.0.1:1/"})
    job = api.finished(api.submit(f"{site}/redirect-to?{target}"))
    assert job["error"]["code"] == "blocked_target"


def test_a_wait_answers_as_soon_as_the_job_ends(api, start_worker, site_url):
    job_id = api.submit(site_url)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(api.get, f"/api/v1/jobs/{job_id}?wait=30")
        worker = start_worker()
        assert waiting.result(timeout=25).json()["status"] == "succeeded"
    worker.stop()


def test_a_wait_that_is_over_answers_with_the_job_as_it_stands(api, site_url):
    assert api.get(f"/api/v1/jobs/{api.submit(site_url)}?wait=0.2").json()["status"] == "queued"


def test_waiting_requests_hold_no_database_connection(api, site_url):
    """The pool of this web server has 32 connections: 60 waits would exhaust it."""
    job_id = api.submit(site_url)
    with ThreadPoolExecutor(max_workers=60) as threads:
        waits = [threads.submit(api.get, f"/api/v1/jobs/{job_id}?wait=3") for _ in range(60)]
        assert {wait.result().json()["status"] for wait in waits} == {"queued"}


def test_a_batch_of_a_thousand_runs_to_its_end(api, worker, site):
    urls = [f"{site}/catalogue/page-{n % 75 + 1}" for n in range(1000)]
    accepted = api.post("/api/v1/batches", {"urls": urls, "extract": EXTRACT}).json()
    assert accepted["total"] == len(set(accepted["jobs"])) == 1000
    for job_id in accepted["jobs"]:
        api.finished(job_id)
    batch = api.get(accepted["links"]["self"]).json()
    assert (batch["status"], batch["counts"]["succeeded"]) == ("completed", 1000)
    with api.get(accepted["links"]["results"], stream=True) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        lines = [line for line in response.iter_lines() if line]
    assert len(lines) == 1000


def test_pages_of_a_listing_have_no_gaps_while_others_submit(api, site_url):
    ids = [api.submit(site_url) for _ in range(10)]
    seen, path = [], "/api/v1/jobs?limit=4"
    while path:
        page = api.get(path).json()
        seen += [job["id"] for job in page["items"]]
        path = page["next"]
        api.submit(site_url)
    assert seen == ids[::-1]


def test_killing_the_worker_in_the_middle_of_a_run_loses_nothing(api, start_worker, site):
    urls = [f"{site}/catalogue/page-{n}?delay=0.2" for n in range(1, 41)]
    accepted = api.post("/api/v1/batches", {"urls": urls, "formats": ["metadata"]}).json()
    doomed = start_worker(concurrency=10, WORKER_LEASE="2")
    api.finished(accepted["jobs"][0])
    doomed.stop(signal.SIGKILL)
    heir = start_worker(concurrency=10, WORKER_LEASE="2")
    for job_id in accepted["jobs"]:
        assert api.finished(job_id)["status"] == "succeeded"
    heir.stop()
    lines = api.get(accepted["links"]["results"]).text.splitlines()
    assert len(lines) == 40


def test_a_worker_that_is_told_to_stop_finishes_what_it_runs(api, start_worker, site):
    worker = start_worker()
    job_id = api.submit(f"{site}/catalogue/page-1?delay=1")
    api.claimed(job_id)
    assert worker.stop() == 0, worker.lines
    assert api.get(f"/api/v1/jobs/{job_id}").json()["status"] == "succeeded"


def test_a_running_scrape_is_cancelled_and_stops(api, start_worker, site):
    worker = start_worker()
    job_id = api.submit(f"{site}/hang")
    api.claimed(job_id)
    assert api.post(f"/api/v1/jobs/{job_id}/cancel", None).json()["status"] == "cancelled"
    worker.wait_for("1 scrapes were cancelled")
    assert worker.stop() == 0, worker.lines
    timeline = api.get(f"/api/v1/jobs/{job_id}/timeline").json()["events"]
    assert [event["event"] for event in timeline][-1] == "cancelled"


def test_what_robots_txt_disallows_is_not_fetched_unless_the_client_may(api, worker, site):
    denied = api.finished(api.submit(f"{site}/private/page"))
    assert denied["error"]["code"] == "robots_denied"
    Client.objects.filter(id=api.tenant.client.id).update(ignores_robots=True)
    allowed = api.finished(api.submit(f"{site}/private/page"))
    assert allowed["error"]["code"] == "http_4xx"


def test_a_page_that_is_too_much_for_the_parser_fails_alone(api, worker, site):
    poison = api.submit(f"{site}/deep/100000", formats=["text"])
    neighbour = api.submit(f"{site}/catalogue/page-1", formats=["text"])
    assert api.finished(neighbour)["status"] == "succeeded"
    assert api.finished(poison)["error"]["code"] == "parser_failed"


def test_a_timeline_tells_where_the_time_of_a_scrape_went(api, worker, site):
    job_id = api.submit(f"{site}/catalogue/page-1?delay=0.05")
    api.finished(job_id)
    events = api.get(f"/api/v1/jobs/{job_id}/timeline").json()["events"]
    assert [event["event"] for event in events] == [
        *("accepted", "claimed", "attempt_ended", "succeeded")
    ]
    phases = events[2]["phases"]
    assert phases["first_byte"] >= 50
    assert {"slot", "robots", "download", "parse", "commit"} <= phases.keys()


def test_a_worker_says_that_it_makes_progress(start_worker):
    (port,) = free_ports(1)
    worker = start_worker(WORKER_HEALTH_PORT=str(port))

    def answers(path):
        answer = requests.get(f"http://127.0.0.1:{port}/health/{path}", timeout=5)
        return (answer.status_code, answer.json()["status"])

    assert answers("live") == (200, "ok")
    until(lambda: answers("ready") == (200, "ok"), "it is ready")
    worker.process.send_signal(signal.SIGSTOP)
    with pytest.raises(requests.Timeout):
        requests.get(f"http://127.0.0.1:{port}/health/live", timeout=0.5)
    worker.process.send_signal(signal.SIGCONT)
    assert worker.stop() == 0, worker.lines


def test_a_worker_whose_output_nobody_reads_any_more_still_stops(database_url):
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "runworker"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url, "PROCESS_ROLE": "worker"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert worker.stdout is not None
        next(line for line in worker.stdout if b"ready" in line)
        worker.stdout.close()
        worker.terminate()
        assert worker.wait(timeout=40) == 0
    finally:
        worker.kill()


def test_a_worker_that_cannot_finish_in_time_gives_its_jobs_back(api, start_worker, site):
    worker = start_worker(WORKER_DRAIN_TIMEOUT="0.2")
    job_id = api.submit(f"{site}/hang")
    api.claimed(job_id)
    assert worker.stop() == 0, worker.lines
    job = api.get(f"/api/v1/jobs/{job_id}").json()
    assert (job["status"], job["attempt"]) == ("queued", 0)


def test_the_service_is_alive_and_ready(web):
    assert requests.get(f"{web}/health/live", timeout=5).json() == {"status": "ok"}
    ready = requests.get(f"{web}/health/ready", timeout=5)
    assert ready.json() == {"status": "ok", "database": "ok", "cache": "ok"}


def test_the_admin_and_the_docs_are_served_with_their_assets(web):
    for path in ("/admin/login/", "/api/docs/", "/static/admin/css/base.css"):
        assert requests.get(f"{web}{path}", timeout=10).status_code == 200


def test_without_valkey_the_service_stays_ready_and_accepts_jobs(start_web, committed_tenant):
    with start_web(REDIS_URL="redis://127.0.0.1:1/0") as base:
        assert requests.get(f"{base}/health/ready", timeout=10).json() == {
            "status": "ok",
            "database": "ok",
            "cache": "unavailable",
        }
        assert Api(base, committed_tenant).submit("http://example.com/")


def test_without_postgresql_the_service_is_alive_but_not_ready(start_web, committed_tenant):
    with start_web(DATABASE_URL="postgres://127.0.0.1:1/none", DB_POOL_TIMEOUT="0.5") as base:
        assert requests.get(f"{base}/health/live", timeout=10).status_code == 200
        assert requests.get(f"{base}/health/ready", timeout=10).status_code == 503
        response = Api(base, committed_tenant).post("/api/v1/jobs", {"url": "http://x.example/"})
        assert response.status_code == 503
        assert response.json()["code"] == "database_unavailable"
        assert int(response.headers["Retry-After"]) > 0


def test_a_status_change_is_seen_although_the_status_was_cached(api, start_worker, site):
    """The waiting answer comes after the commit; plain answers follow within the announcement."""
    job_id = api.submit(f"{site}/catalogue/page-1?delay=0.3")
    assert api.get(f"/api/v1/jobs/{job_id}").json()["status"] == "queued"
    worker = start_worker()
    seen: list[str] = []
    while not seen or seen[-1] != "succeeded":
        status = api.get(f"/api/v1/jobs/{job_id}").json()["status"]
        if not seen or status != seen[-1]:
            seen.append(status)
    assert seen in (["queued", "running", "succeeded"], ["running", "succeeded"], ["succeeded"])
    worker.stop()
