"""What is due is sent, and what becomes of it is recorded."""

import asyncio
import json
import logging

import pytest
from aiohttp import web
from django.db import connection
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from jobs.models import Batch, Delivery, DeliveryAttempt, EventType, State, WebhookEndpoint
from jobs.webhooks import deliver
from jobs.webhooks.delivery import Deliverer
from jobs.webhooks.endpoints import change_endpoint, replay_delivery, rotate_secret
from jobs.webhooks.schedule import DELAYS
from jobs.webhooks.signing import shown_secret
from jobs.webhooks.tests.conftest import make_due
from jobs.webhooks.tests.receivers import answering, log_of
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_job_is_told_as_the_api_shows_it(bench, register, finish, client):
    tenant = make_tenant()
    register(client=tenant.client)
    job_id = finish(State.FAILED, client=tenant.client, metadata={"order": "ü"})
    (message,) = bench.deliver()
    shown = client.get(f"/api/v1/jobs/{job_id}", headers=tenant.headers).json()
    body = json.loads(message.body)
    assert body == {"type": "job.failed", "timestamp": body["timestamp"], "data": shown}
    assert shown["error"] == {"code": "timeout", "message": "Slow."}
    assert message.headers["content-type"] == "application/json"


def test_a_batch_is_told_as_the_api_shows_it(bench, register, finish, client):
    tenant = make_tenant()
    register(client=tenant.client, events=[EventType.BATCH_COMPLETED])
    batch = Batch.objects.create(client=tenant.client, total=2, metadata={"run": 1})
    for state in (State.SUCCEEDED, State.FAILED):
        finish(state, client=tenant.client, batch=batch)
    (message,) = bench.deliver()
    shown = client.get(f"/api/v1/batches/{batch.id}", headers=tenant.headers).json()
    body = json.loads(message.body)
    assert (body["type"], body["data"]) == ("batch.completed", shown)
    assert shown["counts"]["failed"] == 1


def test_the_timestamp_of_the_body_is_that_of_the_event(bench, register, finish):
    register()
    finish()
    (message,) = bench.deliver()
    happened_at = Delivery.objects.get().created_at
    assert json.loads(message.body)["timestamp"] == happened_at.isoformat().replace("+00:00", "Z")


def test_a_success_is_recorded_and_not_sent_again(bench, register, finish):
    register()
    finish()
    bench.receiver.handler = answering(204)
    (message,) = bench.deliver(turns=2)
    delivery = Delivery.objects.get()
    assert message.id == str(delivery.id)
    assert (delivery.status, delivery.attempts) == (Delivery.Status.DELIVERED, 1)
    assert delivery.delivered_at is not None
    assert log_of(delivery) == [(1, 204, "")]


def test_a_message_verifies_with_the_endpoints_secret(bench, register, finish):
    endpoint = register()
    finish()
    (message,) = bench.deliver()
    verified = Webhook(shown_secret(endpoint.secret)).verify(message.body, message.headers)
    assert verified["type"] == "job.succeeded"


def test_while_rotating_both_secrets_verify(bench, register, finish, mine):
    old = register()
    new = rotate_secret(client=mine, endpoint_id=old.id)
    finish()
    (message,) = bench.deliver()
    for secret in (old.secret, new.secret):
        Webhook(shown_secret(secret)).verify(message.body, message.headers)


def test_after_the_rotation_the_previous_secret_signs_no_more(bench, register, finish, mine):
    old = register()
    new = rotate_secret(client=mine, endpoint_id=old.id)
    WebhookEndpoint.objects.update(previous_until=new.created_at)
    finish()
    (message,) = bench.deliver()
    Webhook(shown_secret(new.secret)).verify(message.body, message.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(old.secret)).verify(message.body, message.headers)


def test_what_waits_for_a_disabled_endpoint_is_sent_when_it_is_enabled(
    bench, register, finish, mine
):
    endpoint = register()
    finish()
    change_endpoint(client=mine, endpoint_id=endpoint.id, is_active=False)
    assert bench.deliver() == []
    change_endpoint(client=mine, endpoint_id=endpoint.id, is_active=True)
    assert len(bench.deliver()) == 1


def test_an_inactive_client_is_told_nothing(bench, register, finish, mine):
    register()
    finish()
    mine.is_active = False
    mine.save()
    assert bench.deliver() == []


def test_what_is_claimed_is_not_sent_by_anybody_else(bench, register, finish):
    register()
    finish()

    async def two_workers():
        async with bench.sender() as sender:
            for _ in range(2):
                await Deliverer(bench.pool, sender).turn()
            await bench.receiver.has_got(1)

    bench.run(two_workers())
    assert len(bench.receiver.messages) == 1


def test_a_worker_that_dies_between_sending_and_recording_is_made_up_for(bench, register, finish):
    register()
    finish()

    async def send_and_die():
        async with bench.sender() as sender:
            deliverer = Deliverer(bench.pool, sender)
            await deliverer.turn()
            await bench.receiver.has_got(1)
            deliverer.abandon()

    bench.run(send_and_die())
    assert bench.deliver() == bench.receiver.messages
    assert len(bench.receiver.messages) == 1
    make_due()
    first, second = bench.deliver()
    assert first.id == second.id
    delivery = Delivery.objects.get()
    assert (delivery.status, log_of(delivery)) == (Delivery.Status.DELIVERED, [(2, 200, "")])


def test_a_replay_is_sent_under_the_same_id(bench, register, finish, mine):
    endpoint = register()
    finish()
    bench.deliver()
    delivery = Delivery.objects.get()
    replay_delivery(client=mine, endpoint_id=endpoint.id, delivery_id=delivery.id)
    first, second = bench.deliver()
    assert first.id == second.id
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == (Delivery.Status.DELIVERED, 2)


def test_a_replay_of_what_was_given_up_is_one_more_try(bench, register, finish, mine):
    endpoint = register()
    finish()
    make_due(attempts=len(DELAYS) + 1, status=Delivery.Status.GIVEN_UP)
    delivery = Delivery.objects.get()
    bench.receiver.handler = answering(500)
    replay_delivery(client=mine, endpoint_id=endpoint.id, delivery_id=delivery.id)
    assert len(bench.deliver(turns=2)) == 1
    delivery.refresh_from_db()
    assert delivery.status == Delivery.Status.GIVEN_UP


def test_what_was_deleted_before_it_was_told_of_is_given_up(bench, register, finish):
    register()
    job_id = finish()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM jobs_job WHERE id = %s", [job_id])
    assert bench.deliver() == []
    delivery = Delivery.objects.get()
    assert delivery.status == Delivery.Status.GIVEN_UP
    assert "deleted" in log_of(delivery)[0][2]


def test_what_is_deleted_while_it_is_sent_leaves_the_others_recorded(bench, register, finish, mine):
    register()
    finish()
    kept = register(url=bench.receiver.url("/kept"))
    finish()

    async def delete_meanwhile(request):
        if request.path == "/hook":
            await bench.pool.execute("DELETE FROM jobs_delivery WHERE endpoint_id <> $1", kept.id)
        return web.Response()

    bench.receiver.handler = delete_meanwhile
    bench.deliver()
    assert DeliveryAttempt.objects.count() == Delivery.objects.count() == 1


def test_a_worker_sends_until_told_to_stop_and_finishes_what_it_has_begun(bench, register, finish):
    register()
    finish()

    async def serve_and_stop():
        stopping = asyncio.Event()
        serving = asyncio.create_task(
            deliver(bench.pool, bench.sender(), stopping=stopping, patience=10)
        )
        await bench.receiver.has_got(1)
        stopping.set()
        await serving

    bench.run(serve_and_stop())
    assert Delivery.objects.get().status == Delivery.Status.DELIVERED


def test_a_worker_told_to_stop_waits_no_longer_than_its_patience(bench, register, finish):
    register()
    finish()

    async def hang(_request):
        await asyncio.Event().wait()

    bench.receiver.handler = hang

    async def serve_and_stop():
        stopping = asyncio.Event()
        async with asyncio.timeout(10):
            serving = asyncio.create_task(
                deliver(bench.pool, bench.sender(), stopping=stopping, patience=0.05)
            )
            await bench.receiver.has_got(1)
            stopping.set()
            await serving

    bench.run(serve_and_stop())
    delivery = Delivery.objects.get()
    assert (delivery.status, log_of(delivery)) == (Delivery.Status.PENDING, [])


def test_secrets_are_never_logged(bench, register, finish, mine, caplog):
    caplog.set_level(logging.DEBUG)
    endpoint = register()
    rotated = rotate_secret(client=mine, endpoint_id=endpoint.id)
    finish()
    bench.receiver.handler = answering(500)
    bench.deliver()
    assert str(Delivery.objects.get().id) in caplog.text
    for secret in (endpoint.secret, rotated.secret):
        assert secret not in caplog.text
