"""An endpoint is removed whatever happens to it at the same moment."""

import asyncio
from datetime import UTC, datetime

import pytest
from django.db import connection

from jobs.models import Delivery, DeliveryAttempt, WebhookEndpoint
from jobs.webhooks.endpoints import remove_endpoint
from jobs.webhooks.outbox import Outcome, claim, record
from jobs.webhooks.sending import Answer

pytestmark = pytest.mark.django_db(transaction=True)

CANCEL = "UPDATE jobs_job SET state = 'cancelled', finished_at = now() WHERE id = $1"

# Sleeps there, so that the loop does not spin.
WAITING = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted) FROM pg_sleep(0.01)"


async def somebody_waits(pool):
    """Wait until a statement waits for another transaction."""
    async with asyncio.timeout(10):
        while not await pool.fetchval(WAITING):
            pass


@pytest.fixture
def remove(bench, mine):
    """Removes an endpoint while what `begin` does is not committed yet."""

    def remove(endpoint):
        try:
            remove_endpoint(client=mine, endpoint_id=endpoint.id)
        finally:
            connection.close()

    async def remove_meanwhile(endpoint, begin):
        async with bench.pool.acquire() as other:
            transaction = other.transaction()
            await transaction.start()
            await begin(other)
            removal = asyncio.create_task(asyncio.to_thread(remove, endpoint))
            await somebody_waits(bench.pool)
            await transaction.commit()
            await removal

    return lambda endpoint, begin: bench.run(remove_meanwhile(endpoint, begin))


def test_an_endpoint_is_removed_while_a_job_ends_that_it_is_told_of(register, submit, remove):
    endpoint = register()
    job_id = submit()
    remove(endpoint, lambda other: other.execute(CANCEL, job_id))
    assert not WebhookEndpoint.objects.exists()
    assert not Delivery.objects.exists()


def test_an_endpoint_is_removed_while_a_try_is_recorded(bench, register, finish, remove):
    endpoint = register()
    finish()

    async def record_try(other):
        (due,) = await claim(bench.pool, most=1, room={})
        await record(other, [Outcome(due, Answer(200), datetime.now(UTC), 1.0)])

    remove(endpoint, record_try)
    assert not WebhookEndpoint.objects.exists()
    assert not DeliveryAttempt.objects.exists()
