"""What the web server does without any worker, without Valkey, without PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support import Api

pytestmark = [pytest.mark.xdist_group("service"), pytest.mark.django_db(transaction=True)]


def test_a_wait_that_is_over_answers_with_the_job_as_it_stands(api, site_url):
    assert api.get(f"/api/v1/jobs/{api.submit(site_url)}?wait=0.2").json()["status"] == "queued"


def test_waiting_requests_hold_no_database_connection(api, site_url):
    """The pool of this web server has 32 connections: 60 waits would exhaust it."""
    job_id = api.submit(site_url)
    with ThreadPoolExecutor(max_workers=60) as threads:
        waits = [threads.submit(api.get, f"/api/v1/jobs/{job_id}?wait=3") for _ in range(60)]
        assert {wait.result().json()["status"] for wait in waits} == {"queued"}


def test_pages_of_a_listing_have_no_gaps_while_others_submit(api, site_url):
    ids = [api.submit(site_url) for _ in range(10)]
    seen, path = [], "/api/v1/jobs?limit=4"
    while path:
        page = api.get(path).json()
        seen += [job["id"] for job in page["items"]]
        path = page["next"]
        api.submit(site_url)
    assert seen == ids[::-1]


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
