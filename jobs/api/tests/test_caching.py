"""What the API answers from its caches, and what it must not."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.utils import timezone

from cachelayer.invalidation import depends_on
from cachelayer.layer import cache_layer
from jobs.engine.queue import JobSpec, enqueue
from jobs.models import Job, Result, State
from jobs.services import submit_batch
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)

START = datetime(2026, 1, 1, tzinfo=UTC)


def new_spec():
    return JobSpec(url="http://example.com/", formats=("data",), max_attempts=2, timeout=30)


@pytest.fixture
def committed(transactional_db):
    return make_tenant()


@pytest.fixture
def get(client, committed):
    def get(path, tenant=committed, **headers):
        return client.get(f"/api/v1/{path}", headers=tenant.headers | headers)

    return get


@pytest.fixture
def finished(committed):
    spec = new_spec()
    enqueue([spec], client_id=committed.client.id)
    job = Job.objects.filter(id=spec.id)
    job.update(state=State.RUNNING, claim_token=uuid4(), started_at=START, attempt=1)
    job.update(state=State.SUCCEEDED, claim_token=None, finished_at=START)
    Result.objects.create(
        job_id=spec.id, final_url="x", status_code=200, fetched_at=START, data=[{"a": 1}]
    )
    return spec.id


@pytest.mark.parametrize("path", ["jobs/{}", "jobs/{}/result"])
def test_the_second_answer_about_a_finished_job_takes_no_query(
    get, finished, path, django_assert_num_queries
):
    first = get(path.format(finished))
    with django_assert_num_queries(0):
        second = get(path.format(finished))
    assert (second.status_code, second.content) == (200, first.content)


@pytest.mark.parametrize("path", ["jobs/{}", "jobs/{}/result"])
def test_another_process_answers_about_a_finished_job_from_level_2(
    get, finished, path, django_assert_num_queries
):
    first = get(path.format(finished))
    cache_layer().local.clear()
    with django_assert_num_queries(0):
        assert get(path.format(finished)).content == first.content


def test_an_answer_that_is_known_already_is_not_sent_again(get, finished):
    first = get(f"jobs/{finished}")
    again = get(f"jobs/{finished}", **{"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]


def test_another_etag_gets_the_whole_answer(get, finished):
    assert get(f"jobs/{finished}", **{"If-None-Match": '"other"'}).status_code == 200


def test_answers_differ_by_who_asks(get, finished):
    assert "Authorization" in get(f"jobs/{finished}")["Vary"]
    assert "private" in get(f"jobs/{finished}")["Cache-Control"]


@pytest.mark.parametrize("path", ["jobs/{}", "jobs/{}/result"])
def test_a_cached_answer_is_never_another_clients(get, finished, path):
    assert get(path.format(finished)).status_code == 200
    assert get(path.format(finished), tenant=make_tenant()).status_code == 404


def test_the_same_listing_of_two_clients_is_two_answers(get, finished):
    assert len(get("jobs").json()["items"]) == 1
    assert get("jobs", tenant=make_tenant()).json()["items"] == []


def test_a_listing_shows_what_its_own_client_has_just_submitted(client, get, committed):
    assert get("jobs").json()["items"] == []
    body = json.dumps({"url": "http://example.com/"})
    headers = committed.headers
    client.post("/api/v1/jobs", body, content_type="application/json", headers=headers)
    assert len(get("jobs").json()["items"]) == 1


def test_a_batch_is_counted_once_while_nothing_changes(get, committed, django_assert_num_queries):
    batch = submit_batch(client=committed.client, specs=[new_spec()], metadata={})
    get(f"batches/{batch.id}")
    with django_assert_num_queries(0):
        assert get(f"batches/{batch.id}").json()["counts"]["queued"] == 1


def test_a_known_key_takes_no_query(get, committed, django_assert_num_queries):
    get("jobs?limit=1")
    with django_assert_num_queries(0):
        assert get("jobs?limit=1").status_code == 200


def test_a_revoked_key_is_refused_at_once(get, committed):
    assert get("jobs").status_code == 200
    key = committed.client.keys.get()
    key.revoked_at = timezone.now()
    key.save()
    assert get("jobs").status_code == 401


def test_a_deactivated_client_is_refused_at_once(get, committed):
    assert get("jobs").status_code == 200
    committed.client.is_active = False
    committed.client.save()
    assert get("jobs").status_code == 401


def test_a_right_key_id_with_a_wrong_secret_does_not_meet_the_cached_client(get, committed):
    assert get("jobs").status_code == 200
    stranger = make_tenant()
    forged = stranger.key.split("_")
    forged[1] = committed.key.split("_")[1]
    stranger.headers = {"Authorization": f"Bearer {'_'.join(forged)}"}
    assert get("jobs", tenant=stranger).status_code == 401


def test_errors_are_not_kept(get, committed):
    spec = new_spec()
    assert get(f"jobs/{spec.id}").status_code == 404
    enqueue([spec], client_id=committed.client.id)
    assert get(f"jobs/{spec.id}").status_code == 200


def test_the_status_of_an_unfinished_job_is_not_kept_in_level_2(get, committed):
    spec = new_spec()
    enqueue([spec], client_id=committed.client.id)
    assert get(f"jobs/{spec.id}").json()["status"] == "queued"
    cache_layer().local.clear()
    Job.objects.filter(id=spec.id).update(state=State.CANCELLED, finished_at=START)
    assert get(f"jobs/{spec.id}").json()["status"] == "cancelled"


def test_keys_revoked_in_bulk_are_refused_at_once(get, committed):
    assert get("jobs").status_code == 200
    committed.client.keys.update(revoked_at=timezone.now())
    assert get("jobs").status_code == 401


def test_keys_deleted_in_bulk_are_refused_at_once(get, committed):
    assert get("jobs").status_code == 200
    committed.client.keys.all().delete()
    assert get("jobs").status_code == 401


def test_a_model_whose_bulk_writes_would_go_unnoticed_is_not_accepted():
    with pytest.raises(TypeError, match="InvalidatingQuerySet"):
        depends_on(Job, lambda _job: (), bulk=())
