"""The console's page of a recorded query: its plan, a run, an index to try, a migration to keep."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from performance.models import Aggregate, Sample, Subject
from performance.storage.periods import PERIODS
from performance.tests.slow_tables import SQL, fill_samples

pytestmark = pytest.mark.django_db


def keep(statement, *parameters, kind="query", key="abc"):
    document = {"sql": statement, "parameters": list(parameters)}
    Sample.objects.create(
        type=kind, key=key, instance="web/1", value=9e9, recorded_at=timezone.now(),
        document=document,
    )  # fmt: skip
    return reverse("console:plan", args=[kind, key])


@pytest.fixture
def samples(db):
    fill_samples()


@pytest.fixture
def slow(samples):
    return keep(SQL, "web/7", 3)


def text(response):
    assert response.status_code == 200
    return response.content.decode()


def test_a_plan_is_drawn_with_its_hints_and_a_migration(admin_client, slow):
    page = text(admin_client.get(slow))
    assert "<b>Seq Scan on performance_sample</b>" in page
    assert "an index on what it filters by would find them" in page
    assert "AddIndexConcurrently" in page
    assert "Rows found" not in page


def test_it_is_run_on_demand(admin_client, slow):
    page = text(admin_client.post(slow, {"run": "1"}))
    assert "Rows found" in page
    assert "Rows thrown away" in page
    assert LogEntry.objects.get().object_repr == "query abc"


def test_an_index_is_tried(admin_client, slow):
    name = admin_client.get(slow).context["proposed"][0].suggestion.name
    page = text(admin_client.post(slow, {"try": name}))
    assert "It helps:" in page
    assert f"Index Scan using {name}" in page


def test_an_index_is_tried_with_a_run(admin_client, slow):
    name = admin_client.get(slow).context["proposed"][0].suggestion.name
    page = text(admin_client.post(slow, {"try": name, "run": "1"}))
    assert "Time after" in page


def test_a_write_offers_no_run_and_refuses_one(admin_client, samples):
    address = keep("DELETE FROM performance_sample WHERE instance = %s", "web/7")
    assert "Run it and measure" not in text(admin_client.get(address))
    page = text(admin_client.post(address, {"run": "1"}))
    assert "It is not run, for it writes" in page
    assert "ModifyTable" in page
    assert Sample.objects.filter(instance="web/7").exists()


def test_what_cannot_be_explained_is_shown_with_the_reason(admin_client):
    assert "PostgreSQL does not explain it" in text(admin_client.get(keep("VACUUM")))


def test_what_nobody_has_recorded_is_not_found(admin_client):
    for address in (["query", "other"], ["sample", "abc"]):
        assert admin_client.get(reverse("console:plan", args=address)).status_code == 404


def test_who_may_only_look_runs_nothing(client, slow):
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_console"))
    client.force_login(user)
    assert "Run it and measure" not in text(client.get(slow))
    assert client.post(slow, {"run": "1"}).status_code == 403


def test_suggested_indexes_are_listed_with_their_statements(admin_client, samples):
    empty = text(admin_client.get(reverse("console:suggestions")))
    assert "No statement of the last day lacks an index" in empty
    period, now = PERIODS["24h"], timezone.now()
    statement = SQL.replace("%s", "$1", 1).replace("%s", "$2")
    Subject.objects.create(type="statement", key="1", document={"sql": statement}, seen_at=now)
    Aggregate.objects.create(
        type="statement", key="1", period=period.seconds, count=200, sum=200 * 50, max=0,
        bucket=period.bucket(now.timestamp()), histogram=b"\x80", is_sampled=False,
    )  # fmt: skip
    page = text(admin_client.get(reverse("console:suggestions")))
    assert "performance_sample (instance, value)" in page
    assert reverse("console:plan", args=["statement", "1"]) in page
    assert "AddIndexConcurrently" in page
    assert text(admin_client.get(reverse("console:plan", args=["statement", "1"])))


def test_the_database_page_shows_all_its_cards(admin_client):
    page = text(admin_client.get(reverse("console:page", args=["database"])))
    assert "console-error" not in page
    for name in ("database", "activity", "tables", "indexes"):
        assert f'<h2 id="title-{name}">' in page
