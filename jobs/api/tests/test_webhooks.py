"""Webhooks over REST: endpoints, their secrets, their deliveries, and whose they are."""

import json
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from jobs.models import Delivery, DeliveryAttempt, KeptAnswer, WebhookEndpoint
from jobs.webhooks.endpoints import MOST_ENDPOINTS
from jobs.webhooks.signing import shown_secret

pytestmark = pytest.mark.django_db

URL = "https://receiver.example/hook"
EVENTS = ["job.succeeded", "batch.completed"]


@pytest.fixture
def call(client, tenant):
    def call(method, path, body=None, headers=None):
        data = "" if body is None else json.dumps(body)
        return client.generic(
            *(method, f"/api/v1/webhooks{path}", data),
            content_type="application/json",
            headers=tenant.headers if headers is None else headers,
        )

    return call


@pytest.fixture
def register(call):
    def register(**body):
        return call("POST", "", {"url": URL, "events": EVENTS, **body})

    return register


@pytest.fixture
def webhook(register):
    return register().json()


@pytest.fixture
def add_delivery(webhook):
    def add_delivery(age=0, **values):
        created_at = timezone.now() - timedelta(seconds=age)
        defaults = {"event": "job.succeeded", "subject": uuid4(), "created_at": created_at}
        return Delivery.objects.create(
            id=uuid4(),
            endpoint_id=webhook["id"],
            **{"next_attempt_at": created_at, **defaults, **values},
        )

    return add_delivery


def refused(response, status, code):
    document = response.json()
    assert (response.status_code, document["code"]) == (status, code)
    assert response["Content-Type"] == "application/problem+json"
    return document


def fields_of(response):
    return [error["field"] for error in refused(response, 422, "validation_failed")["errors"]]


def test_a_registration_answers_with_the_endpoint_and_its_secret(register):
    response = register()
    document = response.json()
    path = f"/api/v1/webhooks/{document['id']}"
    assert response.status_code == 201
    assert response["Location"] == path
    assert document["secret"] == shown_secret(WebhookEndpoint.objects.get().secret)
    Webhook(document["secret"])
    created_at = document.pop("created_at")
    assert created_at.endswith("Z")
    assert document == {
        "id": document["id"],
        "url": URL,
        "events": EVENTS,
        "is_active": True,
        "disabled_reason": None,
        "previous_secret_until": None,
        "secret": document["secret"],
        "links": {"self": path, "deliveries": f"{path}/deliveries"},
    }


def test_the_secret_is_shown_only_once(call, webhook):
    shown = {name: value for name, value in webhook.items() if name != "secret"}
    assert call("GET", f"/{webhook['id']}").json() == shown
    assert call("GET", "").json() == {"items": [shown]}
    assert call("PATCH", f"/{webhook['id']}", {"is_active": True}).json() == shown


def test_two_endpoints_have_different_secrets(register):
    assert register().json()["secret"] != register().json()["secret"]


def test_a_registration_repeated_with_its_key_registers_once(call, tenant):
    headers = {**tenant.headers, "Idempotency-Key": "one"}
    body = {"url": URL, "events": EVENTS}
    first, second = (call("POST", "", body, headers) for _ in range(2))
    assert first.json() == second.json()
    assert WebhookEndpoint.objects.count() == 1


def test_no_secret_is_kept_with_the_answer_to_a_key(call, tenant):
    headers = {**tenant.headers, "Idempotency-Key": "one"}
    body = {"url": URL, "events": EVENTS}
    created = call("POST", "", body, headers).json()
    rotating = {**tenant.headers, "Idempotency-Key": "two"}
    rotated = call("POST", f"/{created['id']}/rotate", headers=rotating).json()
    kept = [bytes(body) for body in KeptAnswer.objects.values_list("body", flat=True)]
    assert len(kept) == 2
    assert not [body for body in kept if b'secret":' in body or b"whsec_" in body]
    assert call("POST", f"/{created['id']}/rotate", headers=rotating).json() == rotated
    assert call("POST", "", body, headers).json() == created | {"secret": rotated["secret"]}


def test_a_registration_repeated_after_its_endpoint_was_deleted_finds_nothing(call, tenant):
    headers = {**tenant.headers, "Idempotency-Key": "one"}
    body = {"url": URL, "events": EVENTS}
    created = call("POST", "", body, headers).json()
    call("DELETE", f"/{created['id']}")
    refused(call("POST", "", body, headers), 404, "not_found")


def test_an_event_named_twice_counts_once(register):
    assert register(events=["job.failed", "job.failed"]).json()["events"] == ["job.failed"]


def test_the_url_is_stored_in_its_canonical_form(register):
    assert register(url="HTTPS://Receiver.Example:443").json()["url"] == "https://receiver.example/"


@pytest.mark.parametrize(
    "url",
    ["", "receiver.example", "ftp://receiver.example/", "https://user:pass@receiver.example/"],
)
def test_a_url_that_nothing_can_be_sent_to_is_refused(register, url):
    assert fields_of(register(url=url)) == ["url"]


@pytest.mark.parametrize("events", [[], ["job.started"], "job.failed", None])
def test_events_that_there_are_not_are_refused(register, events):
    assert fields_of(register(events=events))[0].startswith("events")


def test_an_unknown_field_is_refused_by_name(register, call, webhook):
    assert fields_of(register(secret="mine")) == ["secret"]
    assert fields_of(call("PATCH", f"/{webhook['id']}", {"secret": "mine"})) == ["secret"]


def test_a_client_has_a_bounded_number_of_endpoints(register, call, webhook):
    for _ in range(MOST_ENDPOINTS - 1):
        assert register().status_code == 201
    refused(register(), 409, "too_many_webhooks")
    call("DELETE", f"/{webhook['id']}")
    assert register().status_code == 201


def test_a_change_leaves_the_rest_as_it_is(call, webhook):
    path = f"/{webhook['id']}"
    changed = call("PATCH", path, {"url": "https://other.example/"}).json()
    assert (changed["url"], changed["events"]) == ("https://other.example/", EVENTS)
    assert call("PATCH", path, {"events": ["job.failed"]}).json()["events"] == ["job.failed"]
    assert call("PATCH", path, {"is_active": False}).json()["is_active"] is False
    assert call("GET", path).json()["url"] == "https://other.example/"


def test_a_change_to_null_is_refused_and_changes_nothing(call, webhook):
    fields_of(call("PATCH", f"/{webhook['id']}", {"is_active": False, "url": None}))
    assert call("GET", f"/{webhook['id']}").json()["is_active"] is True


@pytest.mark.parametrize("change", [{"url": "x"}, {"events": []}, {"is_active": "perhaps"}])
def test_a_change_to_what_cannot_be_is_refused(call, webhook, change):
    assert fields_of(call("PATCH", f"/{webhook['id']}", change)) == list(change)


def test_enabling_an_endpoint_forgets_why_it_was_disabled(call, webhook):
    WebhookEndpoint.objects.update(is_active=False, disabled_reason="410 Gone")
    path = f"/{webhook['id']}"
    assert call("GET", path).json()["disabled_reason"] == "410 Gone"
    enabled = call("PATCH", path, {"is_active": True}).json()
    assert (enabled["is_active"], enabled["disabled_reason"]) == (True, None)


def test_a_rotation_shows_a_new_secret_and_keeps_the_previous_one_for_a_day(call, webhook):
    rotated = call("POST", f"/{webhook['id']}/rotate").json()
    assert rotated["secret"] != webhook["secret"]
    endpoint = WebhookEndpoint.objects.get()
    assert shown_secret(endpoint.secret) == rotated["secret"]
    assert shown_secret(endpoint.previous_secret) == webhook["secret"]
    until = datetime.fromisoformat(rotated["previous_secret_until"])
    assert until == endpoint.previous_until
    assert (until - timezone.now()).total_seconds() == pytest.approx(24 * 3600, abs=10)


def test_a_deleted_endpoint_takes_its_deliveries_along(call, webhook, add_delivery):
    delivery = add_delivery()
    DeliveryAttempt.objects.create(
        delivery=delivery, number=1, at=timezone.now(), milliseconds=1, status_code=200
    )
    assert call("DELETE", f"/{webhook['id']}").status_code == 204
    refused(call("GET", f"/{webhook['id']}"), 404, "not_found")
    assert not Delivery.objects.exists()
    assert not DeliveryAttempt.objects.exists()


def test_a_delivery_reads_with_its_log(call, webhook, add_delivery):
    delivery = add_delivery(attempts=1)
    DeliveryAttempt.objects.create(
        delivery=delivery, number=1, at=timezone.now(), milliseconds=1.5, error="No answer."
    )
    path = f"/{webhook['id']}/deliveries/{delivery.id}"
    document = call("GET", path).json()
    (attempt,) = document["log"]
    del attempt["at"]
    assert attempt == {
        "number": 1,
        "milliseconds": 1.5,
        "status_code": None,
        "error": "No answer.",
    }
    assert (document["status"], document["attempts"]) == ("pending", 1)
    assert document["next_attempt_at"] is not None
    assert document["links"] == {
        "self": f"/api/v1/webhooks{path}",
        "subject": f"/api/v1/jobs/{delivery.subject}",
    }


def test_a_delivery_of_a_batch_leads_to_the_batch(call, webhook, add_delivery):
    delivery = add_delivery(event="batch.completed", status="delivered")
    (document,) = call("GET", f"/{webhook['id']}/deliveries").json()["items"]
    assert document["links"]["subject"] == f"/api/v1/batches/{delivery.subject}"
    assert document["next_attempt_at"] is None


def test_pages_of_deliveries_continue_without_gaps_the_newest_first(call, webhook, add_delivery):
    moment = timezone.now()
    # Some of one moment: what one transaction ends has one time.
    same = sorted((add_delivery(created_at=moment).id for _ in range(4)), reverse=True)
    ids = [str(one) for one in same] + [str(add_delivery(age=age).id) for age in (10, 20, 30)]
    path, seen = f"/{webhook['id']}/deliveries?limit=2", []
    while path:
        document = call("GET", path.removeprefix("/api/v1/webhooks")).json()
        seen += [delivery["id"] for delivery in document["items"]]
        path = document["next"]
    assert seen == ids


def test_deliveries_are_listed_by_status(call, webhook, add_delivery):
    add_delivery()
    given_up = add_delivery(status="given_up")
    items = call("GET", f"/{webhook['id']}/deliveries?status=given_up").json()["items"]
    assert [item["id"] for item in items] == [str(given_up.id)]


@pytest.mark.parametrize("query", ["status=lost", "limit=0", "cursor=x", "colour=red"])
def test_an_unusable_filter_is_refused_by_name(call, webhook, query):
    response = call("GET", f"/{webhook['id']}/deliveries?{query}")
    assert fields_of(response) == [query.partition("=")[0]]


@pytest.mark.parametrize("status", ["pending", "delivered", "given_up"])
def test_a_replay_makes_a_delivery_due_again(call, webhook, add_delivery, status):
    later = timezone.now() + timedelta(hours=1)
    delivery = add_delivery(status=status, next_attempt_at=later, delivered_at=timezone.now())
    response = call("POST", f"/{webhook['id']}/deliveries/{delivery.id}/replay")
    assert (response.status_code, response.json()["status"]) == (202, "pending")
    delivery.refresh_from_db()
    assert delivery.status == Delivery.Status.PENDING
    assert delivery.next_attempt_at <= timezone.now()


def test_nothing_is_replayed_to_a_disabled_endpoint(call, webhook, add_delivery):
    delivery = add_delivery(status="given_up")
    WebhookEndpoint.objects.update(is_active=False)
    response = call("POST", f"/{webhook['id']}/deliveries/{delivery.id}/replay")
    refused(response, 409, "webhook_disabled")


PATHS = [
    ("GET", "/{webhook}"),
    ("PATCH", "/{webhook}"),
    ("DELETE", "/{webhook}"),
    ("POST", "/{webhook}/rotate"),
    ("GET", "/{webhook}/deliveries"),
    ("GET", "/{webhook}/deliveries/{delivery}"),
    ("POST", "/{webhook}/deliveries/{delivery}/replay"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_another_clients_endpoint_answers_like_an_unknown_one(
    call, webhook, add_delivery, other_tenant, method, path
):
    before = WebhookEndpoint.objects.values().get()
    delivery = add_delivery()
    body = {"is_active": False} if method == "PATCH" else None
    theirs = path.format(webhook=webhook["id"], delivery=delivery.id)
    unknown = path.format(webhook=uuid4(), delivery=uuid4())
    answers = [call(method, one, body, other_tenant.headers) for one in (theirs, unknown)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert WebhookEndpoint.objects.values().get() == before


def test_a_delivery_is_found_at_its_own_endpoint_only(call, register, add_delivery):
    delivery, other = add_delivery(), register().json()["id"]
    refused(call("GET", f"/{other}/deliveries/{delivery.id}"), 404, "not_found")


def test_another_clients_endpoints_are_not_listed(call, webhook, other_tenant):
    assert call("GET", "", headers=other_tenant.headers).json() == {"items": []}


def test_no_key_is_refused(call):
    refused(call("GET", "", headers={}), 401, "not_authenticated")
