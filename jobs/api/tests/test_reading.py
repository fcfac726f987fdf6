"""GET jobs: single jobs, results, listings, and whose they are."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from jobs.engine.queue import JobSpec, enqueue
from jobs.models import Job, Result, State
from jobs.services import submit_batch

pytestmark = pytest.mark.django_db

START = datetime(2026, 1, 1, tzinfo=UTC)
ODD_MOMENTS = [
    "created_after=2026-01-01T00:00:00",
    "created_after=0001-01-01T00:00:00Z",
    "created_before=9999-12-31T23:59:59Z",
]


def new_spec(url="http://example.com/", **options):
    return JobSpec(
        **{"url": url, "formats": ("html",), "max_attempts": 2, "timeout": 30, **options}
    )


@pytest.fixture
def submit(tenant):
    def submit(**options):
        spec = new_spec(**options)
        enqueue([spec], client_id=tenant.client.id)
        return spec.id

    return submit


@pytest.fixture
def get(client, tenant):
    def get(path, query=None, headers=None):
        return client.get(f"/api/v1/{path}", query, headers=headers or tenant.headers)

    return get


def end(job_id, state, **values):
    Job.objects.filter(id=job_id).update(
        state=State.RUNNING, claim_token=uuid4(), started_at=START, attempt=1
    )
    Job.objects.filter(id=job_id).update(
        state=state, claim_token=None, finished_at=START + timedelta(seconds=1), **values
    )


def test_a_queued_job_reads_as_it_stands(get, submit):
    job_id = submit(metadata={"a": 1})
    document = get(f"jobs/{job_id}").json()
    created_at, run_at = document.pop("created_at"), document.pop("run_at")
    assert run_at == created_at
    assert datetime.fromisoformat(created_at).tzinfo is not None
    assert document == {
        "id": str(job_id),
        "status": "queued",
        "url": "http://example.com/",
        "started_at": None,
        "finished_at": None,
        "attempt": 0,
        "max_attempts": 2,
        "error": None,
        "hold": None,
        "retry_of": None,
        "schedule": None,
        "metadata": {"a": 1},
        "links": {
            "self": f"/api/v1/jobs/{job_id}",
            "result": f"/api/v1/jobs/{job_id}/result",
            "timeline": f"/api/v1/jobs/{job_id}/timeline",
        },
    }


def test_a_failed_job_says_why(get, submit):
    job_id = submit()
    end(job_id, State.FAILED, error_code="timeout", error_message="Too slow.")
    document = get(f"jobs/{job_id}").json()
    assert document["error"] == {"code": "timeout", "message": "Too slow."}
    assert document["finished_at"] == "2026-01-01T00:00:01Z"


def test_waiting_for_a_terminal_job_answers_at_once(get, submit):
    job_id = submit()
    end(job_id, State.CANCELLED)
    assert get(f"jobs/{job_id}").json()["status"] == "cancelled"


@pytest.mark.parametrize("wait", ["-1", "31", "soon"])
def test_a_wait_out_of_bounds_is_refused(get, submit, wait):
    response = get(f"jobs/{submit()}?wait={wait}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "wait"


def test_a_result_has_one_key_a_format(get, submit):
    job_id = submit(formats=("data", "text"))
    end(job_id, State.SUCCEEDED)
    Result.objects.create(
        job_id=job_id,
        final_url="http://example.com/end",
        status_code=200,
        fetched_at=START,
        data=[{"a": "ü"}],
        text="words",
    )
    assert get(f"jobs/{job_id}/result").json() == {
        "id": str(job_id),
        "url": "http://example.com/",
        "final_url": "http://example.com/end",
        "status_code": 200,
        "fetched_at": "2026-01-01T00:00:00Z",
        "data": [{"a": "ü"}],
        "text": "words",
    }


def test_the_result_of_an_unfinished_job_is_a_conflict(get, submit):
    response = get(f"jobs/{submit()}/result")
    assert (response.status_code, response.json()["code"]) == (409, "job_not_finished")
    assert response.json()["job_status"] == "queued"


def test_the_result_of_a_failed_job_is_a_conflict_of_its_own(get, submit):
    job_id = submit()
    end(job_id, State.FAILED, error_code="timeout")
    response = get(f"jobs/{job_id}/result")
    assert (response.status_code, response.json()["code"]) == (409, "job_without_result")


@pytest.mark.parametrize("path", ["jobs/{}", "jobs/{}/result", "batches/{}", "batches/{}/results"])
def test_an_unknown_id_is_not_found(get, path):
    response = get(path.format(uuid4()))
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["jobs/{}", "jobs/{}/result", "jobs/{}?wait=1"])
def test_another_clients_job_answers_like_an_unknown_one(get, submit, other_tenant, path):
    theirs = get(path.format(submit()), headers=other_tenant.headers)
    unknown = get(path.format(uuid4()), headers=other_tenant.headers)
    assert (theirs.status_code, theirs.json()) == (404, unknown.json())


def test_another_clients_batch_answers_like_an_unknown_one(get, tenant, other_tenant):
    batch = submit_batch(client=tenant.client, specs=[new_spec()], metadata={})
    assert get(f"batches/{batch.id}", headers=other_tenant.headers).status_code == 404
    assert get(f"batches/{batch.id}/results", headers=other_tenant.headers).status_code == 404


def test_a_listing_shows_the_newest_first(get, submit):
    ids = [str(submit()) for _ in range(3)]
    document = get("jobs").json()
    assert [job["id"] for job in document["items"]] == ids[::-1]
    assert document["next"] is None


def test_a_listing_shows_only_the_callers_jobs(get, submit, other_tenant):
    submit()
    assert get("jobs", headers=other_tenant.headers).json()["items"] == []


def test_pages_continue_without_gaps_while_jobs_arrive(get, submit):
    ids = [str(submit()) for _ in range(7)]
    seen = []
    path = "jobs?limit=3"
    while path:
        document = get(path.removeprefix("/api/v1/")).json()
        seen += [job["id"] for job in document["items"]]
        path = document["next"]
        submit()
    assert seen == ids[::-1]


def test_the_next_page_keeps_the_filters(get, submit):
    kept = [str(submit()) for _ in range(3)]
    end(submit(), State.CANCELLED)
    first = get("jobs?status=queued&limit=2").json()
    second = get(first["next"].removeprefix("/api/v1/")).json()
    assert [job["id"] for job in first["items"] + second["items"]] == kept[::-1]


def test_a_listing_filters_by_status(get, submit):
    submit()
    cancelled = submit()
    end(cancelled, State.CANCELLED)
    items = get("jobs?status=cancelled").json()["items"]
    assert [job["id"] for job in items] == [str(cancelled)]


def test_a_listing_filters_by_batch(get, submit, tenant):
    submit()
    spec = new_spec()
    batch = submit_batch(client=tenant.client, specs=[spec], metadata={})
    items = get(f"jobs?batch={batch.id}").json()["items"]
    assert [job["id"] for job in items] == [str(spec.id)]


def test_a_listing_filters_by_creation(get, submit):
    job_id = submit()
    created_at = Job.objects.get(id=job_id).created_at
    before, after = created_at - timedelta(seconds=1), created_at + timedelta(seconds=1)

    def count(**bounds):
        query = "&".join(f"{k}={v.isoformat().replace('+', '%2B')}" for k, v in bounds.items())
        return len(get(f"jobs?{query}").json()["items"])

    assert count(created_after=before, created_before=after) == 1
    assert count(created_after=after) == 0
    assert count(created_before=before) == 0


UNUSABLE = ["limit=0", "limit=501", "status=lost", "batch=x", "url_prefix=shop", "colour=red"]


@pytest.mark.parametrize("query", [*UNUSABLE, *ODD_MOMENTS])
def test_an_unusable_filter_is_refused_by_name(get, query):
    response = get(f"jobs?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == query.partition("=")[0]


def test_a_cursor_of_another_client_is_refused(get, submit, other_tenant):
    for _ in range(2):
        submit()
    following = get("jobs?limit=1").json()["next"].removeprefix("/api/v1/")
    response = get(following, headers=other_tenant.headers)
    assert response.json()["errors"][0]["code"] == "invalid_cursor"


def test_a_forged_cursor_is_refused(get):
    assert get(f"jobs?cursor={uuid4().hex}:AAAA").status_code == 422


def test_a_page_costs_the_same_number_of_queries_for_any_length(
    get, submit, django_assert_num_queries
):
    for _ in range(20):
        submit()
    with django_assert_num_queries(2):
        get("jobs?limit=20")


def test_a_batch_of_urls_shares_its_options(client, tenant, get):
    body = {
        "urls": ["http://example.com/1", "http://example.com/2"],
        "priority": "urgent",
        "metadata": {"run": 1},
    }
    response = client.post(
        "/api/v1/batches",
        json.dumps(body),
        content_type="application/json",
        headers=tenant.headers,
    )
    document = response.json()
    assert (response.status_code, document["total"]) == (202, 2)
    assert response["Location"] == document["links"]["self"]
    jobs = Job.objects.filter(batch=document["id"]).order_by("id")
    assert [str(job.id) for job in jobs] == document["jobs"]
    assert [job.url for job in jobs] == body["urls"]
    assert {(job.priority, str(job.metadata)) for job in jobs} == {(3, "{}")}
    stored = get(f"batches/{document['id']}").json()
    assert (stored["metadata"], stored["created_at"]) == ({"run": 1}, document["created_at"])


def test_a_batch_of_jobs_keeps_the_options_of_each(client, tenant):
    body = {
        "jobs": [{"url": "http://example.com/1", "timeout": 1}, {"url": "http://example.com/2"}]
    }
    response = client.post(
        "/api/v1/batches",
        json.dumps(body),
        content_type="application/json",
        headers=tenant.headers,
    )
    assert response.status_code == 202
    assert sorted(Job.objects.values_list("timeout", flat=True)) == [1, 30]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"urls": []},
        {"urls": ["http://example.com/"] * 1001},
        {"urls": ["http://example.com/"], "jobs": [{"url": "http://example.com/"}]},
        {"jobs": [{"url": "http://example.com/"}], "timeout": 3},
        {"urls": ["http://example.com/", "ftp://example.com/"]},
    ],
)
def test_a_batch_that_is_not_wholly_right_stores_nothing(client, tenant, body):
    response = client.post(
        "/api/v1/batches",
        json.dumps(body),
        content_type="application/json",
        headers=tenant.headers,
    )
    assert (response.status_code, response.json()["code"]) == (422, "validation_failed")
    assert Job.objects.count() == 0


def test_the_wrong_url_of_a_batch_is_named_by_its_position(client, tenant):
    body = {"urls": ["http://example.com/", "ftp://example.com/"]}
    response = client.post(
        "/api/v1/batches",
        json.dumps(body),
        content_type="application/json",
        headers=tenant.headers,
    )
    assert [error["field"] for error in response.json()["errors"]] == ["urls.1"]


def test_a_batch_counts_its_jobs_by_status(get, tenant):
    specs = [new_spec() for _ in range(3)]
    batch = submit_batch(client=tenant.client, specs=specs, metadata={})
    end(specs[0].id, State.SUCCEEDED)
    document = get(f"batches/{batch.id}").json()
    assert document["status"] == "running"
    assert document["counts"] == {
        "queued": 2,
        "running": 0,
        "succeeded": 1,
        "failed": 0,
        "cancelled": 0,
    }


def test_a_search_by_host_finds_its_jobs_on_any_port(get, submit):
    wanted = [str(submit(url=f"http://shop.example.com{port}/")) for port in ("", ":8080")]
    submit(url="http://shop.example.com.evil.example/")
    submit(url="http://other.example/?u=http://shop.example.com/")
    items = get("jobs?host=Shop.Example.com").json()["items"]
    assert [job["id"] for job in items] == wanted[::-1]


def test_a_search_by_host_finds_it_in_any_spelling(get, submit):
    wanted = str(submit(url="http://xn--mller-kva.example/"))
    items = get("jobs", {"host": "Müller.example"}).json()["items"]
    assert [job["id"] for job in items] == [wanted]


@pytest.mark.parametrize("host", ["", "no host", "example.com:8080", "example.com/path", "a@b"])
def test_what_is_no_host_is_refused_instead_of_finding_nothing(get, host):
    response = get("jobs", {"host": host})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["host"]


def test_a_search_by_the_beginning_of_a_url_takes_every_character_as_it_is(get, submit):
    wanted = str(submit(url="http://example.com/a_b%25/1"))
    submit(url="http://example.com/axb%25/1")
    submit(url="https://example.com/a_b%25/1")
    items = get("jobs", {"url_prefix": "http://EXAMPLE.com/a_b%25"}).json()["items"]
    assert [job["id"] for job in items] == [wanted]


def test_a_search_by_an_ipv6_address_finds_it(get, submit):
    wanted = str(submit(url="http://[2001:db8::1]/x"))
    items = get("jobs", {"url_prefix": "http://[2001:db8::1]/"}).json()["items"]
    assert [job["id"] for job in items] == [wanted]


def test_a_search_shows_only_the_callers_jobs(get, submit, other_tenant):
    submit()
    assert get("jobs?host=example.com", headers=other_tenant.headers).json()["items"] == []
