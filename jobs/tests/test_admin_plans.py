"""The list among many jobs: every query is answered by an index, and nothing is counted."""

import json
import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client as Browser

from jobs.models import Job
from jobs.tests.admins import many_jobs
from tests.support import make_tenant

pytestmark = pytest.mark.xdist_group("admin plans")

STATES = {"succeeded": 10_000, "queued": 3_000, "cancelled": 20}


@pytest.fixture(scope="module")
def many(django_db_setup, django_db_blocker):
    """Jobs of a few clients, and what the planner knows of them."""
    with django_db_blocker.unblock():
        tenants = [make_tenant() for _ in range(4)]
        for tenant in tenants:
            for state, count in STATES.items():
                many_jobs(tenant.client, count, state)
            many_jobs(tenant.client, 100, "failed", "timeout")
        many_jobs(tenants[0].client, 5, "failed", "worker_lost")
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE jobs_job, jobs_client")
        yield tenants[0].client
        owners = [tenant.client.owner_id for tenant in tenants]
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE jobs_job CASCADE")
        for tenant in tenants:
            tenant.client.delete()
        User.objects.filter(id__in=owners).delete()


@pytest.fixture
def queries(many, db, admin_client):
    """The statements by which a list reads jobs; `{day}` is that on which they were made."""

    def queries(query, browser: Browser = admin_client):
        statements = []

        def note(execute, sql, parameters, *rest):
            if re.match("SELECT", sql) and "jobs_job" in sql:
                statements.append((sql, parameters))
            return execute(sql, parameters, *rest)

        # Asked of them: it may be another than when the tests were collected.
        day = Job.objects.latest("id").created_at.date()
        with connection.execute_wrapper(note):
            response = browser.get(f"/admin/jobs/job/?{query.format(day=day)}")
        assert response.status_code == 200
        assert statements
        return statements

    return queries


def plan_of(statement, parameters):
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters)
        (answer,) = cursor.fetchone()
    plan = answer if isinstance(answer, list) else json.loads(answer)
    return list(nodes_of(plan[0]["Plan"]))


def nodes_of(node):
    yield node
    for child in node.get("Plans", ()):
        yield from nodes_of(child)


LISTS = [
    *("", "state=succeeded", "state=failed", "state=cancelled", "dead=yes", "hold=retry"),
    *("created=hour", "day={day}", "client=default"),
    *("client=default&state=cancelled", "q=host-7.example", "q=http://host-7.example/5"),
    "state=failed&q=host-7.example",
]


@pytest.mark.parametrize("query", LISTS)
def test_no_list_reads_the_whole_table(queries, query):
    for statement, parameters in queries(query):
        read = 0
        for node in plan_of(statement, parameters):
            if node.get("Relation Name") == "jobs_job":
                assert node["Node Type"] != "Seq Scan", statement
                discarded = node.get("Rows Removed by Filter", 0)
                read += (node["Actual Rows"] + discarded) * node["Actual Loops"]
        assert read < 3_000, statement


@pytest.mark.parametrize("query", LISTS)
def test_no_list_counts(queries, query):
    assert not [sql for sql, _ in queries(query) if "COUNT(" in sql]


def test_a_later_page_begins_where_the_one_before_ended(queries, many):
    last = Job.objects.order_by("id")[5_000]
    statements = queries(f"p={last.id}")
    (page,) = [one for one in statements if "ORDER BY" in one[0] and "LIMIT 101" in one[0]]
    assert "OFFSET" not in page[0]
    scans = [node for node in plan_of(*page) if node.get("Relation Name") == "jobs_job"]
    assert sum(node["Actual Rows"] for node in scans) <= 101


def test_an_estimate_is_near_the_truth(many, db, admin_client):
    listed = admin_client.get("/admin/jobs/job/").context["cl"]
    assert listed.result_count == pytest.approx(Job.objects.count(), rel=0.1)
    assert listed.size.startswith("about 5")
