"""The performance API: the console's data for programs, its actions, and who may have them."""

import json
import threading
from uuid import UUID, uuid4

import pytest
import yaml
from django.contrib.admin.models import LogEntry

from cachelayer.layer import cache_layer
from cachelayer.operations import survey
from cachelayer.policy import Policy
from cachelayer.tests.servers import until
from cachelayer.tiered import TieredCache
from jobs.models import ApiKey, Scope
from performance.cards.requests import RequestsCard
from performance.console.pages import CARDS
from performance.recorders.requests import ALL, NAME
from performance.recording.process import buffer
from performance.storage.reading import Scope as Looked
from performance.tests.acting import away, finished
from performance.tests.sessions import session
from performance.tests.telling import forget, tell
from tests.support import Api, make_tenant

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = "/api/v1/performance"
READS = ("monitor", "stats", "bottlenecks", "slow-queries", "pools", "n-plus-one", "alerts")


@pytest.fixture(autouse=True)
def _nothing_kept(transactional_db):
    for key in cache_layer().remote.scan("*:performance:v*", count=100):
        cache_layer().remote.call(*cache_layer().remote.delete_commands(key))


@pytest.fixture
def without_valkey(monkeypatch):
    monkeypatch.setattr(cache_layer(), "remote", away())


def tenant_with(*scopes):
    tenant = make_tenant()
    ApiKey.objects.filter(client=tenant.client).update(scopes=list(scopes))
    return tenant


@pytest.fixture
def reader(transactional_db):
    return tenant_with(Scope.READ)


@pytest.fixture
def operator(transactional_db):
    return tenant_with(Scope.READ, Scope.OPTIMIZE)


@pytest.fixture
def get(client, reader):
    return lambda path: client.get(f"{ROOT}/{path}", headers=reader.headers)


@pytest.fixture
def post(client, operator):
    def send(path, tenant=operator, key=None, **body):
        return client.post(
            f"{ROOT}/optimize/{path}",
            json.dumps(body),
            content_type="application/json",
            headers=tenant.headers | ({"Idempotency-Key": key} if key else {}),
        )

    return send


def table_of(card, name):
    return next(one for one in card["tables"] if one["name"] == name)


def test_the_monitor_has_the_health_of_every_card_the_worst_first(get):
    document = get("monitor").json()
    assert {one["name"] for one in document["cards"]} == set(CARDS)
    levels = [("green", "yellow", "red").index(one["level"]) for one in document["cards"]]
    assert levels == sorted(levels, reverse=True)
    assert document["level"] == document["cards"][0]["level"]
    assert all(one["reason"] for one in document["cards"])


def test_stats_are_the_numbers_of_the_cards_with_their_units(get):
    forget()
    for milliseconds in (20.0, 30.0):
        buffer.record(NAME, "GET /a", milliseconds)
        buffer.record(ALL, "", milliseconds)
    tell()
    document = get("stats?period=1h&process=").json()
    assert (document["period"], document["process"]) == ("1h", "")
    assert [one["name"] for one in document["cards"]] == [
        *("requests", "queue", "workers", "cache", "pools")
    ]
    requests = document["cards"][0]
    shown = RequestsCard().content(Looked())
    assert requests["facts"][0] == {
        "label": "Requests", "value": shown.facts[0].value, "unit": "number", "level": "green",
        "is_estimated": False,
    }  # fmt: skip
    views = table_of(requests, "views")
    assert {"key": "p95", "label": "p95", "unit": "ms"} in views["columns"]
    assert views["rows"][0]["view"] == "GET /a"
    assert set(views["rows"][0]) == {one["key"] for one in views["columns"]}


@pytest.mark.parametrize("path", READS)
def test_reading_takes_the_scope_to_read(client, path):
    tenant = tenant_with(Scope.JOBS, Scope.OPTIMIZE)
    response = client.get(f"{ROOT}/{path}", headers=tenant.headers)
    assert response.status_code == 403
    assert response.json()["scope"] == "performance:read"
    assert client.get(f"{ROOT}/{path}").status_code == 401


@pytest.mark.parametrize("path", READS)
def test_every_card_is_read(get, path):
    response = get(path)
    assert response.status_code == 200
    cards = response.json()["cards"]
    assert cards
    assert not [one for one in cards if one.get("error")]
    reasons = [one["reason"] for one in cards if "reason" in one]
    failed = ("PostgreSQL did not answer", "This card failed")
    assert not [one for one in reasons if one.startswith(failed)]


def test_a_period_that_is_not_kept_is_refused(get):
    response = get("stats?period=2h")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "period"


def test_who_asks_again_at_once_costs_nothing(get, django_assert_num_queries):
    first = get("stats")
    with django_assert_num_queries(0):
        again = get("stats")
    assert again.content == first.content


def test_a_deed_is_a_preview_unless_it_is_asked_for(post):
    TieredCache("api-clear", Policy(ttl=60)).get_or_load([1], lambda: "x")
    response = post("caching", action="clear", namespace="api-clear")
    assert response.status_code == 200
    document = response.json()
    assert document["dry_run"] is True
    assert {"label": "Entries", "value": 1, "unit": "number"} in document["figures"]
    assert "api-clear" in survey()
    assert not LogEntry.objects.exists()


def test_a_deed_that_is_asked_for_is_done_and_recorded_with_the_key_s_owner(post, client, operator):
    TieredCache("api-clear", Policy(ttl=60)).get_or_load([1], lambda: "x")
    response = post("caching", action="clear", namespace="api-clear", dry_run=False)
    assert response.status_code == 202
    assert response.json()["state"] == "running"
    finished(UUID(response.json()["id"]))
    run = client.get(response["Location"], headers=operator.headers).json()
    assert (run["state"], run["outcome"]) == ("done", "Removed 1 entries of api-clear.")
    assert run["by"] == "default (API)"
    assert "api-clear" not in survey()
    assert LogEntry.objects.get().user_id == operator.client.owner_id


@pytest.mark.parametrize(
    "body", [{"action": "vacuum", "table": "jobs_job"}, {"action": "analyze", "table": "jobs_job"}]
)
def test_tables_are_looked_after(post, body):
    assert post("database", **body).json()["figures"]
    response = post("database", **body, dry_run=False)
    assert finished(UUID(response.json()["id"])).state == "done"


@pytest.mark.xdist_group("statements")
def test_statistics_are_reset(post):
    response = post("database", action="reset_statistics", dry_run=False)
    assert finished(UUID(response.json()["id"])).state == "done"


def test_a_repeated_request_does_it_once(post):
    key = str(uuid4())
    first = post("database", key=key, action="analyze", table="jobs_job", dry_run=False)
    finished(UUID(first.json()["id"]))
    again = post("database", key=key, action="analyze", table="jobs_job", dry_run=False)
    assert again.json()["id"] == first.json()["id"]
    assert again["Idempotent-Replayed"] == "true"
    assert LogEntry.objects.count() == 1
    assert not [one for one in threading.enumerate() if one.name.startswith("action ")]


def test_acting_takes_the_scope_to_optimize(post, reader):
    for path, body in (
        ("database", {"action": "vacuum", "table": "jobs_job"}),
        ("caching", {"action": "clear", "namespace": "jobs"}),
    ):
        response = post(path, reader, **body)
        assert response.status_code == 403
        assert response.json()["scope"] == "performance:optimize"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "vacuum"}, "table"),
        ({"action": "create_index"}, "index"),
        ({"action": "reset_statistics", "table": "jobs_job"}, "table"),
        ({"action": "drop_table", "table": "jobs_job"}, "action"),
        ({"table": "jobs_job"}, "action"),
        ({"action": "vacuum", "table": "jobs_job", "full": True}, "full"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(post, body, field):
    response = post("database", **body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


def test_what_cannot_be_done_is_a_problem_that_says_why(post):
    response = post("database", action="vacuum", table="no_such_table", dry_run=False)
    assert response.status_code == 409
    assert response.json()["code"] == "action_refused"
    assert "no_such_table" in response.json()["detail"]
    assert not LogEntry.objects.exists()


def test_a_preview_does_not_wait_for_a_lock_that_somebody_holds(post):
    with session() as (_, hold):
        hold("BEGIN; LOCK TABLE jobs_job")
        response = post("database", action="analyze", table="jobs_job")
    assert (response.status_code, response.json()["code"]) == (409, "action_refused")
    assert "lock" in response.json()["detail"]


def test_without_valkey_the_cache_s_actions_say_so(post, without_valkey):
    response = post("caching", action="clear", namespace="jobs")
    assert (response.status_code, response.json()["code"]) == (503, "cache_unavailable")
    assert response["Retry-After"]


def test_an_action_that_nobody_asked_for_is_a_problem(get):
    response = get(f"actions/{uuid4()}")
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"


def test_a_web_process_does_what_it_was_asked_for(web, operator):
    api = Api(web, operator)
    body = {"action": "analyze", "table": "jobs_job", "dry_run": False}
    response = api.post(f"{ROOT}/optimize/database", body)
    assert response.status_code == 202, response.text

    def state():
        return api.get(response.headers["Location"]).json()["state"]

    until(lambda: state() != "running", "the end of the action")
    assert state() == "done"


def test_the_openapi_document_has_it_all_with_examples(client):
    schema = yaml.safe_load(client.get("/api/schema/").content)
    paths = {path for path in schema["paths"] if path.startswith(ROOT)}
    assert paths == {
        *(f"{ROOT}/{path}" for path in READS),
        *(f"{ROOT}/optimize/{kind}" for kind in ("database", "caching")),
        f"{ROOT}/actions/{{run_id}}",
    }
    deed = schema["paths"][f"{ROOT}/optimize/database"]["post"]
    assert deed["requestBody"]["content"]["application/json"]["examples"]
    assert "Idempotency-Key" in {one["name"] for one in deed["parameters"]}
    monitor = schema["paths"][f"{ROOT}/monitor"]["get"]
    assert monitor["responses"]["200"]["content"]["application/json"]["examples"]
