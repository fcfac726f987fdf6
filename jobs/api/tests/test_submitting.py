"""POST jobs: what is accepted, what is refused and how."""

import json

import pytest

from jobs.models import Job

pytestmark = pytest.mark.django_db

URL = "https://example.com/list"
EXTRACT = {"baseSelector": "li", "fields": [{"name": "title", "selector": "a", "type": "text"}]}


@pytest.fixture
def post(client, tenant):
    def post(body, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body)
        return client.post(
            "/api/v1/jobs", data, content_type="application/json", headers=tenant.headers | headers
        )

    return post


def refused(response, status, code):
    document = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert (response.status_code, document["status"], document["code"]) == (status, status, code)
    assert Job.objects.count() == 0
    return document


def test_a_job_is_accepted_with_its_location(post):
    response = post({"url": URL})
    document = response.json()
    assert response.status_code == 202
    assert response["Location"] == document["links"]["self"] == f"/api/v1/jobs/{document['id']}"
    assert document["links"]["result"] == f"/api/v1/jobs/{document['id']}/result"
    assert set(document) == {"id", "status", "url", "created_at", "links"}
    assert (document["status"], document["url"]) == ("queued", URL)


def test_an_accepted_job_is_ready_to_be_claimed(post):
    job = Job.objects.get(id=post({"url": URL, "priority": "high"}).json()["id"])
    assert (job.state, job.hold, job.priority) == ("queued", "", 2)
    assert job.ready_at == job.created_at


def test_a_submission_takes_one_statement_beside_the_key_lookup(post, django_assert_num_queries):
    with django_assert_num_queries(2):
        post({"url": URL})


def test_the_options_are_stored(post):
    post(
        {
            "url": URL,
            "extract": EXTRACT,
            "formats": ["data", "links"],
            "priority": "low",
            "max_attempts": 7,
            "timeout": 2.5,
            "metadata": {"order": [1, None, "x"]},
        }
    )
    job = Job.objects.get()
    assert job.extract == EXTRACT
    assert job.formats == ["data", "links"]
    assert (job.priority, job.max_attempts, job.timeout) == (0, 7, 2.5)
    assert job.metadata == {"order": [1, None, "x"]}


def test_the_defaults_come_from_the_settings(post):
    post({"url": URL})
    job = Job.objects.get()
    assert (job.max_attempts, job.timeout, job.priority) == (4, 30, 1)
    assert job.formats == ["html"]


def test_an_extraction_asks_for_data_by_itself(post):
    post({"url": URL, "extract": EXTRACT, "formats": ["text"]})
    assert Job.objects.get().formats == ["data", "text"]


def test_the_url_is_stored_in_its_canonical_form(post):
    assert post({"url": "HTTP://Example.COM:80/a"}).json()["url"] == "http://example.com/a"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "not a url",
        "example.com",
        "ftp://example.com/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@example.com/",
        "http://example.com/a b",
        "http://example.com/" + "a" * 2048,
    ],
)
def test_a_url_that_cannot_be_fetched_is_refused_by_field(post, url):
    document = refused(post({"url": url}), 422, "validation_failed")
    assert [error["field"] for error in document["errors"]] == ["url"]


def test_an_unknown_field_is_refused_by_name(post):
    document = refused(post({"url": URL, "colour": 1}), 422, "validation_failed")
    assert document["errors"][0]["field"] == "colour"


def test_every_wrong_field_is_named_at_once(post):
    body = {"url": URL, "timeout": 0, "max_attempts": 100, "priority": "asap", "formats": ["pdf"]}
    document = refused(post(body), 422, "validation_failed")
    fields = {error["field"] for error in document["errors"]}
    assert fields == {"timeout", "max_attempts", "priority", "formats.0"}


@pytest.mark.parametrize(
    ("extract", "field"),
    [
        ({"baseSelector": "li[", "fields": EXTRACT["fields"]}, "extract.baseSelector"),
        ({"baseSelector": "li"}, "extract.fields"),
        ({"baseSelector": "li", "fields": []}, "extract.fields"),
    ],
)
def test_an_extraction_that_does_not_compile_is_refused_by_field(post, extract, field):
    document = refused(post({"url": URL, "extract": extract}), 422, "validation_failed")
    assert document["errors"][0]["field"] == field


def test_a_field_deep_in_an_extraction_is_named_by_its_path(post):
    extract = {"baseSelector": "li", "fields": [{"name": "x", "type": "text", "selector": "a[["}]}
    document = refused(post({"url": URL, "extract": extract}), 422, "validation_failed")
    assert document["errors"][0]["field"].startswith("extract.fields.0")


def test_data_without_an_extraction_is_refused(post):
    refused(post({"url": URL, "formats": ["data"]}), 422, "validation_failed")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"url": "\\ud800"}'])
def test_a_body_that_is_no_json_object_is_refused(post, body):
    response = post(body)
    assert response.status_code in {400, 422}
    assert Job.objects.count() == 0


@pytest.mark.parametrize("text", ["\\u0000", "\\\\\\u0000"])
def test_the_character_that_postgresql_cannot_store_is_refused(post, text):
    body = f'{{"url": "{URL}", "metadata": {{"a": "{text}"}}}}'.encode()
    refused(post(body), 400, "malformed_body")


def test_an_escaped_backslash_before_u0000_is_ordinary_text(post):
    body = f'{{"url": "{URL}", "metadata": {{"a": "\\\\u0000"}}}}'.encode()
    assert post(body).status_code == 202
    assert Job.objects.get().metadata == {"a": "\\u0000"}


def test_an_oversized_body_is_refused(post):
    refused(post(b'{"url": "' + b"a" * (5 * 1024 * 1024) + b'"}'), 413, "payload_too_large")


def test_oversized_metadata_is_refused(post):
    document = refused(
        post({"url": URL, "metadata": {"a": "x" * 17_000}}), 422, "validation_failed"
    )
    assert document["errors"][0]["field"] == "metadata"


@pytest.mark.parametrize("number", ["1" + 30 * "0", "-1" + 30 * "0", "NaN", "Infinity", "1e999"])
def test_a_number_in_metadata_that_could_not_be_given_back_is_refused(post, number):
    body = f'{{"url": "{URL}", "metadata": {{"a": {number}}}}}'.encode()
    document = refused(post(body), 422, "validation_failed")
    assert document["errors"][0]["field"] == "metadata"


def test_the_largest_integer_in_metadata_is_stored_as_it_is(post):
    assert post({"url": URL, "metadata": {"a": 2**64 - 1}}).status_code == 202
    assert Job.objects.get().metadata == {"a": 2**64 - 1}


def test_another_media_type_is_refused(client, tenant):
    response = client.post(
        "/api/v1/jobs", "url=x", content_type="text/plain", headers=tenant.headers
    )
    refused(response, 415, "unsupported_media_type")


def test_no_key_is_refused(client):
    response = client.post("/api/v1/jobs", {"url": URL}, content_type="application/json")
    refused(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("key", ["", "x", "scr_000000000000_" + "0" * 72, "é"])
def test_a_wrong_key_is_refused(post, key):
    response = post({"url": URL}, Authorization=f"Bearer {key}".encode().decode("latin-1"))
    refused(response, 401, "invalid_key")


def test_the_key_of_an_inactive_client_is_refused(post, tenant):
    tenant.client.is_active = False
    tenant.client.save()
    refused(post({"url": URL}), 401, "invalid_key")


def test_an_unknown_path_is_a_problem(client):
    refused(client.get("/api/v1/nothing"), 404, "not_found")


def test_a_wrong_method_is_a_problem(client, tenant):
    refused(client.delete("/api/v1/jobs", headers=tenant.headers), 405, "method_not_allowed")
