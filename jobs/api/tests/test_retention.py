"""What the API says of results that were removed by age or quota."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from cachelayer.layer import cache_layer
from jobs.engine.duties import DUTIES, register, run
from jobs.engine.queue import JobSpec
from jobs.models import Duty, Job, Result, State
from jobs.services import submit_batch
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime.now(UTC)
LONG_AGO, LATER = NOW - timedelta(days=31), NOW + timedelta(days=2)


@pytest.fixture
def tenant(transactional_db):
    return make_tenant()


@pytest.fixture
def batch(tenant):
    specs = [
        JobSpec(url=f"http://example.com/{n}", formats=("html",), max_attempts=2, timeout=30)
        for n in range(2)
    ]
    batch = submit_batch(client=tenant.client, specs=specs, metadata={})
    for spec, finished_at in zip(specs, (LONG_AGO, LATER), strict=True):
        jobs = Job.objects.filter(id=spec.id)
        jobs.update(state=State.RUNNING, claim_token=uuid4(), started_at=finished_at, attempt=1)
        jobs.update(state=State.SUCCEEDED, claim_token=None, finished_at=finished_at)
        Result.objects.create(
            job_id=spec.id, final_url=spec.url, status_code=200, fetched_at=finished_at, html="<p>"
        )
    return batch


@pytest.fixture
def old(batch):
    return batch.jobs.earliest("finished_at").id


@pytest.fixture
def get(client, tenant):
    return lambda path: client.get(f"/api/v1/{path}", headers=tenant.headers)


def sweep(name, now=NOW):
    register(now)
    Duty.objects.filter(name=name).update(next_at=now)
    run(DUTIES[name], now=now, worker="worker-1")
    assert Duty.objects.get(name=name).rows > 0


def lines(response):
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]


def test_a_pruned_result_is_gone_and_its_job_stays(get, old):
    sweep("old_results")
    response = get(f"jobs/{old}/result")
    assert (response.status_code, response.json()["code"]) == (410, "result_pruned")
    assert get(f"jobs/{old}").json()["status"] == "succeeded"
    assert get(f"jobs/{old}/timeline").status_code == 200


@pytest.mark.parametrize("forget_memory", [True, False])
def test_a_pruned_result_is_gone_from_the_caches_too(get, old, forget_memory):
    assert get(f"jobs/{old}/result").status_code == 200
    assert get(f"jobs/{old}").status_code == 200
    sweep("old_results")
    if forget_memory:
        cache_layer().local.clear()
    assert get(f"jobs/{old}/result").status_code == 410


def test_a_removed_job_is_gone_from_the_caches_too(get, old, batch):
    get(f"jobs/{old}")
    get(f"jobs/{old}/result")
    assert len(get("jobs").json()["items"]) == 2
    sweep("old_jobs", now=NOW + timedelta(days=366))
    assert get(f"jobs/{old}").status_code == 404
    assert get(f"jobs/{old}/result").status_code == 404
    assert len(get("jobs").json()["items"]) == 1


def test_the_stream_of_a_batch_says_which_results_are_gone(get, old, batch):
    sweep("old_results")
    pruned, kept = lines(get(f"batches/{batch.id}/results"))
    assert (pruned["id"], pruned["status"]) == (str(old), "succeeded")
    assert pruned["error"]["code"] == "result_pruned"
    assert kept["html"] == "<p>"
