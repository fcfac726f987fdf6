"""An endpoint is removed whatever happens to it at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.db import connection

from jobs.models import Delivery, DeliveryAttempt, WebhookEndpoint
from jobs.tests.engines import wait_until_blocked
from jobs.webhooks.endpoints import remove_endpoint
from jobs.webhooks.outbox import Outcome, claim, record
from jobs.webhooks.sending import Answer

pytestmark = pytest.mark.django_db(transaction=True)

CANCEL = "UPDATE jobs_job SET state = 'cancelled', finished_at = now() WHERE id = $1"


@pytest.fixture
def remove(bench, mine):
    """Removes an endpoint while what `begin` does is not committed yet."""

    def remove(endpoint):
        try:
            remove_endpoint(client=mine, endpoint_id=endpoint.id)
        finally:
            connection.close()

    async def begun(begin):
        other = await bench.pool.acquire()
        transaction = other.transaction()
        await transaction.start()
        await begin(other)
        return other, transaction

    async def end(other, transaction):
        await transaction.commit()
        await bench.pool.release(other)

    def remove_meanwhile(endpoint, begin):
        work = bench.run(begun(begin))
        with ThreadPoolExecutor(1) as pool:
            removal = pool.submit(remove, endpoint)
            try:
                wait_until_blocked()
            finally:
                bench.run(end(*work))
            removal.result()

    return remove_meanwhile


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
