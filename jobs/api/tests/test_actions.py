"""Cancelling, retrying, explaining; and requests that come twice."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from jobs.engine.phases import Phases
from jobs.engine.pipeline import failure
from jobs.engine.queue import JobSpec, enqueue
from jobs.errors import ConnectionFailed
from jobs.models import Attempt, Delivery, Domain, Job, KeptAnswer, State, WebhookEndpoint
from jobs.services import submit_batch
from jobs.tests.engines import Engine, success
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)

URL = "http://example.com/"


def new_spec(**options):
    return replace(JobSpec(url=URL, formats=("html",), max_attempts=2, timeout=30), **options)


@pytest.fixture
def mine(transactional_db):
    return make_tenant()


@pytest.fixture
def submit(mine):
    def submit(**options):
        spec = new_spec(**options)
        enqueue([spec], client_id=mine.client.id)
        return spec.id

    return submit


@pytest.fixture
def engine(transactional_db):
    engine = Engine("worker-1")
    yield engine
    engine.close()


@pytest.fixture
def post(client, mine):
    def post(path, body=None, tenant=mine, **headers):
        return client.post(
            f"/api/v1/{path}",
            json.dumps(body) if body is not None else "",
            content_type="application/json",
            headers={**tenant.headers, **headers},
        )

    return post


@pytest.fixture
def get(client, mine):
    def get(path, tenant=mine):
        return client.get(f"/api/v1/{path}", headers=tenant.headers)

    return get


def test_a_queued_job_is_cancelled_at_once(post, submit, engine):
    job_id = submit()
    response = post(f"jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert engine.claim() == []


def test_a_running_job_is_cancelled_and_its_worker_cannot_commit(post, submit, engine):
    job_id = submit()
    (claim,) = engine.claim()
    assert post(f"jobs/{job_id}/cancel").json()["status"] == "cancelled"
    assert engine.commit(success(claim)) == [False]
    assert list(Attempt.objects.values_list("number", "error_code")) == [(1, "cancelled")]


def test_cancelling_twice_answers_alike(post, submit):
    job_id = submit()
    assert post(f"jobs/{job_id}/cancel").json() == post(f"jobs/{job_id}/cancel").json()


def test_a_job_that_has_ended_cannot_be_cancelled(post, submit, engine):
    job_id = submit()
    engine.commit(success(engine.claim()[0]))
    response = post(f"jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "job_ended")
    assert response.json()["job_status"] == "succeeded"


@pytest.mark.parametrize("path", ["jobs/{}/cancel", "jobs/{}/retry"])
def test_another_clients_job_is_not_touched(post, submit, path):
    job_id = submit()
    theirs = post(path.format(job_id), tenant=make_tenant())
    assert (theirs.status_code, theirs.json()) == (404, post(path.format(uuid4())).json())
    assert Job.objects.get().state == State.QUEUED


def test_a_cancelled_status_is_seen_at_once(get, post, submit):
    job_id = submit()
    get(f"jobs/{job_id}")
    post(f"jobs/{job_id}/cancel")
    assert get(f"jobs/{job_id}").json()["status"] == "cancelled"


def test_cancelling_a_batch_ends_what_has_not_ended(post, mine, engine):
    batch = submit_batch(client=mine.client, specs=[new_spec() for _ in range(3)], metadata={})
    engine.commit(success(engine.claim(1)[0]))
    engine.claim(1)
    counts = post(f"batches/{batch.id}/cancel").json()["counts"]
    assert (counts["succeeded"], counts["cancelled"]) == (1, 2)


def test_a_cancelled_job_is_submitted_again_as_another_that_names_it(post, submit):
    job_id = submit(metadata={"a": 1}, priority=3)
    post(f"jobs/{job_id}/cancel")
    response = post(f"jobs/{job_id}/retry")
    assert response.status_code == 202
    again = Job.objects.get(id=response.json()["id"])
    assert (again.retry_of, again.metadata, again.priority) == (job_id, {"a": 1}, 3)
    assert Job.objects.get(id=job_id).state == State.CANCELLED


def test_a_job_that_did_not_fail_is_not_submitted_again(post, submit):
    response = post(f"jobs/{submit()}/retry")
    assert (response.status_code, response.json()["code"]) == (409, "nothing_to_retry")


def test_retrying_a_batch_repeats_what_did_not_succeed(post, mine, engine):
    specs = [new_spec() for _ in range(3)]
    batch = submit_batch(client=mine.client, specs=specs, metadata={"n": 1})
    engine.commit(success(engine.claim(1)[0]))
    post(f"batches/{batch.id}/cancel")
    document = post(f"batches/{batch.id}/retry").json()
    assert document["total"] == 2
    repeated = Job.objects.filter(batch=document["id"]).values_list("retry_of", flat=True)
    assert set(repeated) <= {spec.id for spec in specs}


def test_a_batch_without_failures_is_not_repeated(post, mine):
    batch = submit_batch(client=mine.client, specs=[new_spec()], metadata={})
    assert post(f"batches/{batch.id}/retry").json()["code"] == "nothing_to_retry"


def test_the_end_of_a_job_and_of_its_batch_is_told_to_who_subscribed(post, mine, engine):
    endpoint = WebhookEndpoint.objects.create(
        client=mine.client, url=URL, secret="x", events=["job.cancelled", "batch.completed"]
    )
    batch = submit_batch(client=mine.client, specs=[new_spec(), new_spec()], metadata={})
    engine.commit(success(engine.claim(1)[0]))
    assert Delivery.objects.count() == 0
    post(f"batches/{batch.id}/cancel")
    told = set(Delivery.objects.filter(endpoint=endpoint).values_list("event", flat=True))
    assert told == {"job.cancelled", "batch.completed"}


def test_the_same_key_and_body_make_one_job(post):
    first = post("jobs", {"url": URL}, **{"Idempotency-Key": "a"})
    second = post("jobs", {"url": URL}, **{"Idempotency-Key": "a"})
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.content == first.content
    assert (second["Location"], second["Idempotent-Replayed"]) == (first["Location"], "true")
    assert Job.objects.count() == 1


def test_the_same_key_with_another_body_is_refused(post):
    post("jobs", {"url": URL}, **{"Idempotency-Key": "a"})
    response = post("jobs", {"url": f"{URL}other"}, **{"Idempotency-Key": "a"})
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert Job.objects.count() == 1


def test_keys_of_two_clients_do_not_meet(post):
    post("jobs", {"url": URL}, **{"Idempotency-Key": "a"})
    post("jobs", {"url": URL}, tenant=make_tenant(), **{"Idempotency-Key": "a"})
    assert Job.objects.count() == 2


def test_a_refused_request_does_not_use_its_key_up(post):
    assert post("jobs", {"url": "x"}, **{"Idempotency-Key": "a"}).status_code == 422
    assert post("jobs", {"url": URL}, **{"Idempotency-Key": "a"}).status_code == 202


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "ä"])
def test_a_key_that_is_none_is_refused(post, key):
    response = post("jobs", {"url": URL}, **{"Idempotency-Key": key})
    assert response.json()["errors"][0]["field"] == "Idempotency-Key"


def test_a_key_whose_request_is_being_answered_is_a_conflict(post, mine):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"{mine.client.id}:a"])

    def elsewhere():
        try:
            return post("jobs", {"url": URL}, **{"Idempotency-Key": "a"})
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(elsewhere).result()
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_in_use")
    assert KeptAnswer.objects.count() == 0


def test_many_requests_with_one_key_make_one_job(post):
    def one(_):
        try:
            return post("jobs", {"url": URL}, **{"Idempotency-Key": "a"}).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        codes = set(pool.map(one, range(50)))
    assert codes <= {202, 409}
    assert Job.objects.count() == 1


def test_a_batch_can_be_submitted_with_a_key(post):
    body = {"urls": [URL, f"{URL}2"]}
    first = post("batches", body, **{"Idempotency-Key": "a"})
    assert post("batches", body, **{"Idempotency-Key": "a"}).content == first.content
    assert Job.objects.count() == 2


def events(document):
    return [event["event"] for event in document["events"]]


def test_a_timeline_tells_each_attempt_and_its_phases(get, submit, engine):
    job_id = submit()
    (claim,) = engine.claim()
    phases = Phases(replace(claim, queued_ms=3.0, queued_for="workers"))
    phases.add({"parse": 1.5})
    engine.commit(success(claim, phases=phases))
    document = get(f"jobs/{job_id}/timeline").json()
    assert events(document) == ["accepted", "claimed", "attempt_ended", "succeeded"]
    _, claimed, ended, _ = document["events"]
    assert (claimed["waited_for"], claimed["milliseconds"]) == ("workers", 3.0)
    assert ended["phases"]["parse"] == 1.5
    assert list(ended["phases"]) == ["parse", "commit"]
    assert document["waits_for"] is None


def test_a_timeline_tells_how_long_a_job_was_held_and_why(get, submit, engine):
    job_id = submit()
    (first,) = engine.claim()
    engine.commit(failure(first, ConnectionFailed()))
    Job.objects.filter(id=job_id).update(run_at=timezone.now())
    (second,) = engine.claim()
    engine.commit(success(second, phases=Phases(replace(second, queued_ms=1.0))))
    minute = timedelta(minutes=1)
    later = Attempt.objects.get(job=job_id, number=2)
    later.started_at, later.finished_at = later.started_at + minute, later.finished_at + minute
    later.save()
    document = get(f"jobs/{job_id}/timeline").json()
    assert events(document)[3:5] == ["ready", "claimed"]
    assert document["events"][3]["waited_for"] == "retry"
    assert 60_000 <= document["events"][3]["milliseconds"] < 90_000


def test_a_timeline_says_what_a_queued_job_waits_for(get, submit):
    job_id = submit()
    assert get(f"jobs/{job_id}/timeline").json()["waits_for"]["reason"] == "workers"
    Domain.objects.create(host="example.com", next_at=timezone.now() + timedelta(hours=1))
    waiting = get(f"jobs/{job_id}/timeline").json()["waits_for"]
    assert (waiting["reason"], waiting["until"] is not None) == ("domain", True)


def test_a_timeline_names_the_quota(get, submit, mine, engine):
    mine.client.max_running = 1
    mine.client.save()
    submit()
    engine.claim()
    second = submit()
    assert get(f"jobs/{second}/timeline").json()["waits_for"]["reason"] == "quota"


def test_a_job_for_later_says_until_when_it_waits(post, get):
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    job_id = post("jobs", {"url": URL, "run_at": at}).json()["id"]
    assert get(f"jobs/{job_id}").json()["hold"] == "scheduled"
    waiting = get(f"jobs/{job_id}/timeline").json()["waits_for"]
    assert waiting["reason"] == "scheduled"


def test_a_job_for_too_much_later_is_refused(post):
    at = (timezone.now() + timedelta(days=400)).isoformat()
    assert post("jobs", {"url": URL, "run_at": at}).status_code == 422


def test_another_clients_timeline_answers_like_an_unknown_one(get, submit):
    assert get(f"jobs/{submit()}/timeline", tenant=make_tenant()).status_code == 404
