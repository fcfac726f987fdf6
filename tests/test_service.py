"""The service as its users have it: real HTTP, a real worker, real pages."""

from urllib.parse import urlencode

import pytest
import requests

from jobs.models import Client
from tests.support import make_tenant

pytestmark = pytest.mark.xdist_group("service")

EXTRACT = {
    "name": "products",
    "baseSelector": "article.product",
    "fields": [
        {"name": "name", "selector": "a.name", "type": "text"},
        {"name": "url", "selector": "a.name", "type": "attribute", "attribute": "href"},
        {"name": "price", "selector": "span.price", "type": "text"},
    ],
}


@pytest.fixture(scope="module", autouse=True)
def worker(start_worker, lasting_database):
    """One worker for all of them, as users have it."""
    service = start_worker()
    yield service
    assert service.stop() == 0, "\n".join(service.lines)


@pytest.fixture
def committed_tenant(lasting_database):
    """A tenant that the worker sees."""
    return make_tenant()


def feed(site, page=1):
    """What the practice site says of itself, by another way than its pages."""
    return requests.get(f"{site}/feed.json?page={page}", timeout=10).json()


def test_a_submitted_job_runs_and_its_records_are_the_sites(api, site, site_url):
    job = api.finished(api.submit(site_url, extract=EXTRACT, formats=["data", "links"]))
    assert (job["status"], job["attempt"], job["error"]) == ("succeeded", 1, None)
    result = api.get(job["links"]["result"]).json()
    assert set(result) == {"id", "url", "final_url", "status_code", "fetched_at", "data", "links"}
    expected = [(p["name"], p["url"], p["price"]) for p in feed(site)["products"]]
    assert [(r["name"], r["url"], r["price"]) for r in result["data"]] == expected


def test_a_redirect_is_followed_and_named(api, site):
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
def test_a_failure_ends_with_a_stable_code(api, site, path, code):
    job = api.finished(api.submit(f"{site}{path}", max_attempts=1))
    assert (job["status"], job["error"]["code"]) == ("failed", code)


def test_a_target_that_is_too_slow_times_out(api, site):
    job = api.finished(api.submit(f"{site}/hang", max_attempts=1, timeout=0.3))
    assert (job["status"], job["error"]["code"]) == ("failed", "timeout")


def test_a_failing_target_is_tried_again(api, site, committed_tenant):
    key = committed_tenant.client.id.hex
    job = api.finished(api.submit(f"{site}/flaky/{key}/1", max_attempts=2))
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1]/", "http://169.254.169.254/"])
def test_an_address_that_is_not_public_is_never_connected_to(api, url):
    job = api.finished(api.submit(url))
    assert (job["status"], job["error"]["code"]) == ("failed", "blocked_target")


def test_a_redirect_inwards_is_not_followed(api, site):
    target = urlencode({"url": "http://127.0.0.1:1/"})
    job = api.finished(api.submit(f"{site}/redirect-to?{target}"))
    assert job["error"]["code"] == "blocked_target"


def test_a_batch_of_a_thousand_runs_to_its_end(api, site):
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


def test_a_running_scrape_is_cancelled_and_stops(api, worker, site):
    job_id = api.submit(f"{site}/hang")
    api.claimed(job_id)
    assert api.post(f"/api/v1/jobs/{job_id}/cancel", None).json()["status"] == "cancelled"
    worker.wait_for("1 scrapes were cancelled")
    timeline = api.get(f"/api/v1/jobs/{job_id}/timeline").json()["events"]
    assert [event["event"] for event in timeline][-1] == "cancelled"


def test_what_robots_txt_disallows_is_not_fetched_unless_the_client_may(api, site):
    denied = api.finished(api.submit(f"{site}/private/page"))
    assert denied["error"]["code"] == "robots_denied"
    Client.objects.filter(id=api.tenant.client.id).update(ignores_robots=True)
    allowed = api.finished(api.submit(f"{site}/private/page"))
    assert allowed["error"]["code"] == "http_4xx"


def test_a_page_that_is_too_much_for_the_parser_fails_alone(api, site):
    poison = api.submit(f"{site}/deep/100000", formats=["text"])
    neighbour = api.submit(f"{site}/catalogue/page-1", formats=["text"])
    assert api.finished(neighbour)["status"] == "succeeded"
    assert api.finished(poison)["error"]["code"] == "parser_failed"


def test_a_timeline_tells_where_the_time_of_a_scrape_went(api, site):
    job_id = api.submit(f"{site}/catalogue/page-1?delay=0.05")
    api.finished(job_id)
    events = api.get(f"/api/v1/jobs/{job_id}/timeline").json()["events"]
    assert [event["event"] for event in events] == [
        *("accepted", "claimed", "attempt_ended", "succeeded")
    ]
    phases = events[2]["phases"]
    assert phases["first_byte"] >= 50
    assert {"slot", "robots", "download", "turn", "parse", "commit"} <= phases.keys()
