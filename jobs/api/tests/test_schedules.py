"""/api/v1/schedules: what is accepted, what is shown, and whose it is."""

import json
from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from uuid import uuid4

import pytest

from jobs.engine import schedules
from jobs.models import Job, Schedule

pytestmark = pytest.mark.django_db

URL = "http://example.com/"
PATH = "/api/v1/schedules"
BODY = {"name": "prices", "cron": "30 6 * * *", "timezone": "Europe/Berlin", "job": {"url": URL}}


@pytest.fixture
def call(client, tenant):
    def call(method, path="", body=None, headers=None):
        return getattr(client, method)(
            path if path.startswith("/") else f"{PATH}{path and '/'}{path}",
            None if body is None else json.dumps(body),
            content_type="application/json",
            headers=headers or tenant.headers,
        )

    return call


@pytest.fixture
def create(call):
    def create(headers=None, **changes):
        return call("post", body=BODY | changes, headers=headers)

    return create


def refused(response, status=422):
    document = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert response.status_code == status
    return [error["field"] for error in document.get("errors", ())] or document["code"]


def test_a_schedule_is_created_with_its_location_and_next_runs(create):
    response = create()
    document = response.json()
    assert response.status_code == 201
    assert response["Location"] == document["links"]["self"] == f"{PATH}/{document['id']}"
    runs = [datetime.fromisoformat(run) for run in document["next_runs"]]
    assert len(runs) == 5
    assert runs == sorted(runs)
    assert runs[0] > datetime.now(UTC)
    assert {(run.hour, run.minute) for run in runs} <= {(4, 30), (5, 30)}
    assert Schedule.objects.get().next_run_at == runs[0]


def test_the_document_shows_the_job_with_its_defaults(create, call):
    document = create(job={"url": "HTTP://Example.com", "priority": "high"}).json()
    assert document["job"] == {
        "url": URL,
        "formats": ["html"],
        "max_attempts": 4,
        "timeout": 30,
        "extract": None,
        "priority": "high",
        "metadata": {},
        "off_peak": False,
    }
    assert (document["missed"], document["is_paused"]) == ("skip", False)
    assert document["last_run_at"] is None
    assert call("get", document["id"]).json() == document


def test_the_job_it_submits_is_the_job_that_was_asked_for(create, call):
    extract = {"baseSelector": "li", "fields": [{"name": "a", "selector": "a", "type": "text"}]}
    job = {"url": URL, "extract": extract, "timeout": 2.5, "max_attempts": 7, "metadata": {"a": 1}}
    document = create(job=job).json()
    run = datetime.fromisoformat(document["next_runs"][0])
    assert schedules.tick(run, 10) == 1
    stored = Job.objects.get()
    assert (stored.url, stored.extract, stored.formats) == (URL, extract, ["data"])
    assert (stored.timeout, stored.max_attempts, stored.metadata) == (2.5, 7, {"a": 1})
    shown = call("get", f"/api/v1/jobs/{stored.id}").json()
    assert shown["schedule"] == document["id"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "sometimes"}, "cron"),
        ({"cron": "*" * 101}, "cron"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"timezone": "../UTC"}, "timezone"),
        ({"name": " "}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"missed": "all"}, "missed"),
        ({"job": {"url": "ftp://example.com/"}}, "job.url"),
        ({"job": {"url": URL, "run_at": "2030-01-01T00:00:00Z"}}, "job"),
        ({"job": {"url": URL, "colour": 1}}, "job.colour"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_cannot_run_is_refused_by_name(create, changes, field):
    assert refused(create(**changes)) == [field]
    assert not Schedule.objects.exists()


def test_a_name_is_taken_once_by_each_client(create, other_tenant):
    create()
    assert refused(create()) == ["name"]
    assert create(headers=other_tenant.headers).status_code == 201


def test_a_client_has_so_many_schedules_and_no_more(create):
    with patch.object(schedules, "MOST_SCHEDULES", 1):
        create()
        assert refused(create(name="other"), 409) == "too_many_schedules"


def test_a_repeated_request_creates_one_schedule(create, tenant):
    headers = tenant.headers | {"Idempotency-Key": "once"}
    first, second = create(headers=headers), create(headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert Schedule.objects.count() == 1


def test_a_change_leaves_the_rest_as_it_is(create, call):
    before = create().json()
    after = call("patch", before["id"], {"name": "other"}).json()
    assert after == before | {"name": "other"}


def test_another_expression_or_zone_counts_from_now(create, call):
    schedule = create().json()
    after = call("patch", schedule["id"], {"cron": "* * * * *", "timezone": "UTC"}).json()
    soon = datetime.fromisoformat(after["next_runs"][0])
    assert soon - datetime.now(UTC) <= timedelta(minutes=1)
    assert Schedule.objects.get().next_run_at == soon


def test_a_changed_job_is_checked_and_replaced_as_a_whole(create, call):
    schedule = create(job={"url": URL, "timeout": 3}).json()
    assert refused(call("patch", schedule["id"], {"job": {"timeout": 3}})) == ["job.url"]
    after = call("patch", schedule["id"], {"job": {"url": f"{URL}2"}}).json()
    assert (after["job"]["url"], after["job"]["timeout"]) == (f"{URL}2", 30)


def test_a_paused_schedule_has_no_next_runs_until_it_is_resumed(create, call):
    schedule = create().json()
    paused = call("patch", schedule["id"], {"is_paused": True}).json()
    assert (paused["is_paused"], paused["next_runs"]) == (True, [])
    resumed = call("patch", schedule["id"], {"is_paused": False}).json()
    assert resumed["next_runs"] == schedule["next_runs"]


@pytest.mark.parametrize("body", [{"name": None}, {"cron": "60 * * * *"}, {"next_run_at": "x"}])
def test_a_change_that_is_none_is_refused(create, call, body):
    schedule = create().json()
    refused(call("patch", schedule["id"], body))
    assert call("get", schedule["id"]).json() == schedule


def test_a_change_to_a_taken_name_is_refused(create, call):
    create()
    other = create(name="other").json()
    assert refused(call("patch", other["id"], {"name": "prices"})) == ["name"]
    assert call("patch", other["id"], {"name": "other"}).status_code == 200


def test_a_deleted_schedule_is_gone(create, call):
    schedule = create().json()
    assert call("delete", schedule["id"]).status_code == 204
    assert call("get", schedule["id"]).status_code == 404
    assert create().status_code == 201


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
def test_another_clients_schedule_answers_like_an_unknown_one(create, call, other_tenant, method):
    body = {"name": "mine"} if method == "patch" else None
    theirs = call(method, create().json()["id"], body, headers=other_tenant.headers)
    unknown = call(method, str(uuid4()), body, headers=other_tenant.headers)
    assert (theirs.status_code, theirs.json()) == (404, unknown.json())
    assert Schedule.objects.get().name == "prices"


def test_a_listing_shows_the_callers_schedules_page_by_page(create, call, other_tenant):
    names = [create(name=f"schedule {n}").json()["name"] for n in range(5)]
    create(headers=other_tenant.headers)
    seen, path = [], f"{PATH}?limit=2"
    while path:
        page = call("get", path).json()
        assert len(page["items"]) <= 2
        seen += [item["name"] for item in page["items"]]
        path = page["next"]
    assert seen == names[::-1]


def test_a_page_costs_the_same_number_of_queries_for_any_length(
    create, call, django_assert_num_queries
):
    for n in range(5):
        create(name=f"schedule {n}")
    with django_assert_num_queries(1):
        call("get")
