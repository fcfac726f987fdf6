"""The OpenAPI document and its page."""

import pytest
import yaml

pytestmark = pytest.mark.django_db


@pytest.fixture
def schema(client):
    return yaml.safe_load(client.get("/api/schema/").content)


def test_every_operation_is_documented(schema):
    operations = {
        operation["operationId"] for path in schema["paths"].values() for operation in path.values()
    }
    assert operations == {
        "submit_job",
        "list_jobs",
        "get_job",
        "get_result",
        "submit_batch",
        "get_batch",
        "stream_batch_results",
    }


def test_the_extraction_spec_is_part_of_the_request(schema):
    assert "ExtractionSpec" in schema["components"]["schemas"]


def test_the_key_is_a_bearer_scheme(schema):
    assert schema["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_the_query_parameters_are_documented(schema):
    names = {p["name"] for p in schema["paths"]["/api/v1/jobs"]["get"]["parameters"]}
    assert names == {"status", "batch", "created_after", "created_before", "limit", "cursor"}


def test_the_docs_page_loads_nothing_from_elsewhere(client):
    page = client.get("/api/docs/").content.decode()
    assert "/static/drf_spectacular_sidecar/" in page
    assert "//cdn" not in page
