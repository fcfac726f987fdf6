"""The OpenAPI document and its page."""

import json

import pytest
import yaml

from cachelayer.layer import cache_layer

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
        "get_job_statistics",
        "get_job",
        "get_result",
        "submit_batch",
        "get_batch",
        "stream_batch_results",
        *("get_job_timeline", "cancel_job", "retry_job", "cancel_batch", "retry_batch"),
        *("create_schedule", "list_schedules", "get_schedule", "change_schedule"),
        "delete_schedule",
        *("register_webhook", "list_webhooks", "get_webhook", "change_webhook", "delete_webhook"),
        *("rotate_webhook_secret", "list_webhook_deliveries", "get_webhook_delivery"),
        "replay_webhook_delivery",
        *("get_performance_monitor", "get_performance_stats", "get_performance_bottlenecks"),
        *("get_performance_slow_queries", "get_performance_pools", "get_performance_n_plus_one"),
        *("get_performance_alerts", "get_performance_action"),
        *("optimize_database", "optimize_caching"),
    }


def test_the_extraction_spec_is_part_of_the_request(schema):
    assert "ExtractionSpec" in schema["components"]["schemas"]


def test_the_key_is_a_bearer_scheme(schema):
    assert schema["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_the_query_parameters_are_documented(schema):
    names = {p["name"] for p in schema["paths"]["/api/v1/jobs"]["get"]["parameters"]}
    assert names == {
        *("status", "batch", "host", "url_prefix", "created_after", "created_before"),
        *("limit", "cursor"),
    }


def test_the_docs_page_loads_nothing_from_elsewhere(client):
    page = client.get("/api/docs/").content.decode()
    assert "/static/drf_spectacular_sidecar/" in page
    assert "//cdn" not in page


def test_the_document_is_made_once_whatever_the_query_says(client):
    first = client.get("/api/schema/?lang=de")
    made = cache_layer().stats.of("schema").local.loads
    assert client.get("/api/schema/?x=1").content == first.content
    assert cache_layer().stats.of("schema").local.loads == made


def test_the_document_comes_as_json_and_as_yaml(client):
    as_json = client.get("/api/schema/", headers={"Accept": "application/json"})
    assert as_json["Content-Type"].startswith("application/json")
    assert json.loads(as_json.content) == yaml.safe_load(client.get("/api/schema/").content)
