"""Receivers that fail, hang, redirect, flood or are not ours to reach."""

import asyncio

import pytest
from aiohttp import web

from jobs.fetching import AddressPolicy
from jobs.models import Delivery, EventType
from jobs.webhooks.delivery import Deliverer
from jobs.webhooks.schedule import DELAYS, JITTER
from jobs.webhooks.sending import PATIENCE_FOR_BODY, Answer
from jobs.webhooks.tests.conftest import make_due, seconds_until_next
from jobs.webhooks.tests.receivers import answering, log_of
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 502])
def test_a_failure_is_tried_again_later_under_the_same_id(bench, register, finish, status):
    register()
    finish()
    bench.receiver.handler = answering(status)
    bench.deliver()
    delivery = Delivery.objects.get()
    assert delivery.status == Delivery.Status.PENDING
    assert seconds_until_next(delivery) == pytest.approx(DELAYS[0], abs=DELAYS[0] * JITTER + 1)
    make_due()
    bench.receiver.handler = answering(200)
    first, second = bench.deliver()
    assert first.id == second.id
    assert [number for number, _, _ in log_of(delivery)] == [1, 2]
    assert str(status) in log_of(delivery)[0][2]


def test_the_last_failure_gives_up(bench, register, finish):
    register()
    finish()
    bench.receiver.handler = answering(500)
    make_due(attempts=len(DELAYS))
    bench.deliver()
    make_due()
    assert len(bench.deliver()) == 1
    assert Delivery.objects.get().status == Delivery.Status.GIVEN_UP


def test_a_receiver_that_asks_for_patience_gets_it(bench, register, finish):
    register()
    finish()
    bench.receiver.handler = answering(503, **{"Retry-After": "600"})
    bench.deliver()
    assert seconds_until_next(Delivery.objects.get()) == pytest.approx(600, abs=5)


def test_gone_disables_the_endpoint(bench, register, finish):
    endpoint = register()
    finish()
    finish()
    bench.receiver.handler = answering(410)
    bench.deliver()
    endpoint.refresh_from_db()
    assert not endpoint.is_active
    assert "410 Gone" in endpoint.disabled_reason
    sent = len(bench.receiver.messages)
    make_due()
    assert len(bench.deliver()) == sent


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(bench, register, finish, status):
    register()
    finish()
    bench.receiver.handler = answering(status, Location=bench.receiver.url("/elsewhere"))
    messages = bench.deliver()
    assert [message.headers[":path"] for message in messages] == ["/hook"]
    delivery = Delivery.objects.get()
    assert delivery.status == Delivery.Status.PENDING
    assert "Redirects are not followed" in log_of(delivery)[0][2]


def test_a_receiver_that_hangs_is_a_failure_when_the_time_is_up(bench, register, finish):
    register()
    finish()

    async def hang(_request):
        await asyncio.Event().wait()

    bench.receiver.handler = hang
    bench.deliver(timeout=0.2)
    ((_, status, error),) = log_of(Delivery.objects.get())
    assert status is None
    assert error == "The endpoint did not answer within 0.2 s."


def test_a_huge_answer_is_not_read(bench, register, finish):
    register()
    finish()
    written = 0

    async def huge(request):
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65_536))
            written += 65_536

    bench.receiver.handler = huge
    bench.deliver()
    assert Delivery.objects.get().status == Delivery.Status.DELIVERED
    assert written < 16 * 1024 * 1024


def test_an_answer_whose_body_never_ends_counts_by_its_status(bench, register, finish):
    register()
    finish()

    async def unfinished(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()

    bench.receiver.handler = unfinished
    # The time for an answer is up before the patience for its body.
    bench.deliver(timeout=PATIENCE_FOR_BODY)
    assert Delivery.objects.get().status == Delivery.Status.DELIVERED


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_private_address_is_refused(bench, register, finish, host):
    register(url=bench.receiver.url(host=host))
    finish()
    assert bench.deliver(policy=AddressPolicy()) == []
    ((_, status, error),) = log_of(Delivery.objects.get())
    assert status is None
    assert "does not fetch from" in error
    assert "127.0.0.1" not in error


def test_a_refused_connection_is_logged_without_an_address(bench, register, finish):
    register()
    finish()
    bench.run(bench.close_receiver())
    bench.deliver()
    ((_, _, error),) = log_of(Delivery.objects.get())
    assert error == "The connection to the target failed: Connection refused."


def test_a_sender_that_begins_again_finds_addresses_again(bench):
    port = bench.receiver.port
    policy = AddressPolicy.parse([f"127.0.0.1:{port}", f"[::1]:{port}"])

    async def twice():
        sender = bench.sender(policy=policy)
        for _ in range(2):
            async with sender:
                yield await sender.post(bench.receiver.url(host="localhost"), b"{}", {})

    async def answers():
        return [answer async for answer in twice()]

    assert bench.run(answers()) == [Answer(200), Answer(200)]


@pytest.mark.parametrize(("late", "next_one"), [(500, 200), (200, 500)])
def test_of_a_late_try_and_its_successor_the_success_counts(
    bench, register, finish, late, next_one
):
    register()
    finish()
    released = asyncio.Event()

    async def first_hangs(_request):
        if len(bench.receiver.messages) > 1:
            return web.Response(status=next_one)
        await released.wait()
        return web.Response(status=late)

    bench.receiver.handler = first_hangs

    async def late_and_successor():
        async with bench.sender() as sender:
            paused, successor = Deliverer(bench.pool, sender), Deliverer(bench.pool, sender)
            await paused.turn()
            await bench.receiver.has_got(1)
            await bench.pool.execute("UPDATE jobs_delivery SET next_attempt_at = now()")
            await successor.turn()
            await successor.drain(patience=10)
            released.set()
            await paused.drain(patience=10)

    bench.run(late_and_successor())
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts) == (Delivery.Status.DELIVERED, 2)
    assert [status for _, status, _ in log_of(delivery)] == [late, next_one]


def test_a_receiver_that_hangs_holds_up_nobody_else(bench, register, finish, mine):
    register(url=bench.receiver.url("/hangs"), events=[EventType.JOB_SUCCEEDED])
    for _ in range(8):
        finish()
    healthy = make_tenant().client
    register(client=healthy)
    finish(client=healthy)
    delivered = asyncio.Event()

    async def hang_there(request):
        if request.path == "/hangs":
            await asyncio.Event().wait()
        delivered.set()
        return web.Response()

    bench.receiver.handler = hang_there

    async def one_turn():
        async with bench.sender() as sender:
            deliverer = Deliverer(bench.pool, sender, most=6)
            await deliverer.turn()
            async with asyncio.timeout(10):
                await delivered.wait()
            await bench.receiver.has_got(6)
            deliverer.abandon()

    bench.run(one_turn())
    paths = [message.headers[":path"] for message in bench.receiver.messages]
    assert (paths.count("/hangs"), paths.count("/hook")) == (5, 1)


def test_an_endpoint_whose_last_try_failed_gets_one_message_at_a_time(bench, register, finish):
    register()
    for _ in range(8):
        finish()
    bench.receiver.handler = answering(500)
    bench.deliver(turns=2)
    assert len(bench.receiver.messages) == 5 + 1
