"""The outbox is written with the end of a job, by PostgreSQL itself."""

import asyncio

import pytest
from django.db import transaction

from jobs.models import Batch, Delivery, EventType, Job, State
from jobs.services import cancel_jobs
from jobs.tests.engines import Engine, success
from jobs.webhooks.tests.conftest import end
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)


def events():
    return list(Delivery.objects.values_list("event", "subject"))


@pytest.fixture
def batch(mine):
    return Batch.objects.create(client=mine, total=2)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_an_end_is_written_to_the_outbox_once(register, submit, state):
    register()
    job_id = submit()
    assert events() == []
    end(job_id, state)
    assert events() == [(f"job.{state}", job_id)]


def test_a_worker_commits_the_result_and_the_event_together(register, submit):
    register()
    job_id = submit()
    engine = Engine("worker-1")
    (claim,) = engine.claim()
    engine.commit(success(claim))
    engine.close()
    assert events() == [(EventType.JOB_SUCCEEDED, job_id)]


def test_a_job_cancelled_while_it_waits_is_told_of_too(register, submit, mine):
    register()
    job_id = submit()
    cancel_jobs(client=mine, jobs=[job_id])
    assert events() == [(EventType.JOB_CANCELLED, job_id)]


def test_an_end_that_is_rolled_back_leaves_no_event(register, submit):
    register()
    job_id = submit()
    with transaction.atomic():
        end(job_id)
        assert len(events()) == 1
        transaction.set_rollback(True)
    assert events() == []
    assert Job.objects.get(id=job_id).state == State.QUEUED


def test_every_subscribed_endpoint_has_a_delivery_with_an_id_of_its_own(register, finish):
    register()
    register()
    register(events=[EventType.JOB_FAILED])
    finish()
    assert len(set(Delivery.objects.values_list("id", flat=True))) == 2


def test_another_clients_endpoint_is_told_nothing(register, finish):
    register(client=make_tenant().client)
    finish()
    assert events() == []


def test_a_disabled_endpoint_is_told_nothing(register, finish):
    endpoint = register()
    endpoint.is_active = False
    endpoint.save()
    finish()
    assert events() == []


def test_a_batch_is_completed_with_its_last_job_and_not_before(register, finish, batch):
    register(events=[EventType.BATCH_COMPLETED])
    finish(batch=batch)
    assert events() == []
    finish(State.FAILED, batch=batch)
    assert events() == [(EventType.BATCH_COMPLETED, batch.id)]


def test_a_batch_whose_last_jobs_end_at_once_is_completed_once(register, submit, batch, bench):
    register(events=[EventType.BATCH_COMPLETED])
    first, second = submit(batch=batch), submit(batch=batch)
    cancel = "UPDATE jobs_job SET state = 'cancelled', finished_at = now() WHERE id = $1"

    async def both():
        async with bench.pool.acquire() as one, bench.pool.acquire() as two:
            transaction = one.transaction()
            await transaction.start()
            await one.execute(cancel, first)
            other = asyncio.create_task(two.execute(cancel, second))
            await asyncio.sleep(0)
            await transaction.commit()
            await other

    bench.run(both())
    assert events() == [(EventType.BATCH_COMPLETED, batch.id)]
