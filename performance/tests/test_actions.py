"""Actions on tables, indexes and statistics: previewed, done once, refused and recorded."""

import json
import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection, connections
from django.urls import reverse
from django.utils import timezone

from performance.actions import indexes
from performance.actions.runs import (
    BEGINS_WITHIN,
    MOST_AT_ONCE,
    TOO_MANY,
    Performer,
    places,
    run_of,
)
from performance.models import Sample, StatementTotals
from performance.tests.acting import (
    TABLE,
    ask,
    done,
    finished,
    previewed,
    record_slow_statement,
    value,
)
from performance.tests.counters import tell_counters
from performance.tests.sessions import session
from performance.tests.slow_tables import fill_samples

pytestmark = pytest.mark.django_db(transaction=True)

DEAD = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'performance_sample'"
VACUUMS = "SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'performance_sample'"
ANALYSED = "SELECT last_analyze FROM pg_stat_user_tables WHERE relname = 'performance_sample'"
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND query LIKE '%performance_console%'"
)

BLOCKED_STATEMENT = (
    "SELECT string_agg(query, '') FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
)


def state_of(run_id):
    run = run_of(run_id)
    assert run is not None
    return run.state


def figures(response):
    return {one.label: one.value for one in response.context["preview"].figures}


def staff_with(client, *codenames):
    user = User.objects.create(username="looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


@pytest.fixture
def dead_rows(transactional_db):
    fill_samples()
    Sample.objects.filter(value__lt=10_000).delete()
    tell_counters()


def test_a_vacuum_is_previewed_done_and_recorded(admin_client, dead_rows):
    shown = figures(previewed(admin_client, "vacuum", table=TABLE))
    # What other tests rolled back is dead as well.
    assert shown["Dead rows"] >= 10_000
    assert shown["Table"] > 0
    assert shown["Takes about"] > 0
    before, vacuums = value(DEAD), value(VACUUMS)
    run = done(admin_client, "vacuum", table=TABLE)
    assert (run.state, run.outcome) == ("done", f"Dead rows: {before:,} before, 0 now.")
    assert value(DEAD) == 0
    assert value(VACUUMS) == vacuums + 1
    entry = LogEntry.objects.get()
    assert entry.user.username == "admin"
    assert entry.object_repr == f"action vacuum table {TABLE}"
    told = json.loads(entry.change_message)
    assert told["arguments"] == {"table": TABLE}
    assert (told["by"], told["outcome"]) == ("admin", run.outcome)


def test_a_table_is_analysed(admin_client, dead_rows):
    before = value(ANALYSED)
    assert figures(previewed(admin_client, "analyze", table=TABLE))["Changed since"] >= 10_000
    assert done(admin_client, "analyze", table=TABLE).state == "done"
    assert value(ANALYSED) != before


@pytest.mark.parametrize("table", ["no_such_table", "jobs_job; DROP TABLE jobs_job", "pg_class"])
def test_what_is_no_table_of_ours_is_refused(admin_client, table):
    page = previewed(admin_client, "vacuum", table=table)
    assert "preview" not in page.context
    assert "There is no table" in page.content.decode()


def test_a_table_of_another_role_is_refused(admin_client):
    value("CREATE ROLE poor; GRANT pg_read_all_data, pg_write_all_data TO poor")
    try:
        value("SET ROLE poor")
        page = previewed(admin_client, "vacuum", table=TABLE)
    finally:
        value("RESET ROLE; DROP ROLE poor")
    assert "its owner has to do this" in page.context["error"]


@pytest.fixture
def suggested(transactional_db):
    fill_samples()
    record_slow_statement()
    (name,) = indexes.CreateIndex.choices()["index"]
    yield name
    value(f'DROP INDEX IF EXISTS "{name}"')


def validity(name):
    return value("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", name)


def test_a_suggested_index_is_made_and_is_not_suggested_any_more(admin_client, suggested):
    page = previewed(admin_client, "create_index", index=suggested)
    assert figures(page)["Rows"] == 20_000
    assert "AddIndex" in page.content.decode()
    run = done(admin_client, "create_index", index=suggested)
    assert run.state == "done", run.outcome
    assert validity(suggested) is True
    assert (
        "is suggested" in previewed(admin_client, "create_index", index=suggested).context["error"]
    )


def test_an_index_that_fails_leaves_nothing_behind(admin_client, suggested, monkeypatch):
    monkeypatch.setattr(indexes, "PATIENCE", "100ms")
    with session() as (_, other):
        other("BEGIN; DELETE FROM performance_sample WHERE value < 0")
        run_id = ask(admin_client, "create_index", index=suggested)
        # It waits for older transactions to end, then gives up, then waits to drop what is left.
        while "DROP" not in (value(BLOCKED_STATEMENT) or ""):
            assert state_of(run_id) == "running"
        assert validity(suggested) is False
        other("COMMIT")
    run = finished(run_id)
    assert run.state == "failed"
    assert "lock timeout" in run.outcome
    assert validity(suggested) is None


def test_a_run_says_how_far_it_is(admin_client, suggested):
    with session() as (_, other):
        other("BEGIN; DELETE FROM performance_sample WHERE value < 0")
        run_id = ask(admin_client, "create_index", index=suggested)
        address = reverse("console:run", args=[run_id])
        while "waiting for" not in admin_client.get(address).content.decode():
            assert state_of(run_id) == "running"
        other("COMMIT")
    assert finished(run_id).state == "done"


def test_an_index_that_a_dead_process_left_invalid_is_made_anew(admin_client, suggested):
    value(f'CREATE INDEX "{suggested}" ON performance_sample (id)')
    value("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", suggested)
    assert done(admin_client, "create_index", index=suggested).state == "done"
    assert validity(suggested) is True


def test_an_index_that_nothing_suggests_is_refused(admin_client):
    page = previewed(admin_client, "create_index", index="nothing_idx")
    assert "No index" in page.context["error"]


@pytest.mark.xdist_group("statements")
def test_statement_statistics_are_reset_with_what_the_console_remembers(admin_client):
    StatementTotals.objects.create(
        query_id=1, user_id=1, database_id=1, is_top_level=True, calls=1, milliseconds=1, rows=1,
        blocks_hit=0, blocks_read=0, blocks_temporary=0, seen_at=timezone.now(),
    )  # fmt: skip
    for _ in range(3):
        value("SELECT 1 AS marker FROM performance_value, performance_sample")
    marked = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'SELECT $1 AS marker%'"
    assert value(marked) == 1
    assert figures(previewed(admin_client, "reset_statistics"))["Statements"] > 0
    assert done(admin_client, "reset_statistics").state == "done"
    assert value(marked) == 0
    assert not StatementTotals.objects.exists()


def test_whoever_may_only_look_can_neither_preview_nor_act(client, dead_rows):
    looker = staff_with(client, "view_console")
    before = value(VACUUMS)
    address = reverse("console:action", args=["vacuum"])
    assert looker.get(address, {"table": TABLE}).status_code == 403
    assert looker.post(address, {"table": TABLE, "run": str(uuid4())}).status_code == 403
    assert not LogEntry.objects.exists()
    assert value(VACUUMS) == before


def test_a_stranger_is_sent_to_the_login(client, db):
    response = client.post(reverse("console:action", args=["vacuum"]), {"table": TABLE})
    assert response.status_code == 302
    assert "/login/" in response["Location"]


def test_two_clicks_at_once_do_it_once(admin_client, dead_rows):
    run_id = previewed(admin_client, "vacuum", table=TABLE).context["run_id"]
    address, form = reverse("console:action", args=["vacuum"]), {"table": TABLE, "run": run_id}
    barrier, answers = threading.Barrier(2), []

    def click():
        try:
            barrier.wait(10)
            answers.append(admin_client.post(address, form).status_code)
        finally:
            connections.close_all()

    clicks = [threading.Thread(target=click) for _ in range(2)]
    for one in clicks:
        one.start()
    for one in clicks:
        one.join(30)
    assert answers == [302, 302]
    assert finished(run_id).state == "done"
    assert LogEntry.objects.count() == 1


def test_of_two_people_at_the_same_table_the_second_is_refused(admin_client, dead_rows):
    with session() as (_, other):
        other("BEGIN; LOCK TABLE performance_sample IN SHARE UPDATE EXCLUSIVE MODE")
        first = ask(admin_client, "vacuum", table=TABLE)
        while not value(BLOCKED):
            assert state_of(first) == "running"
        second = finished(ask(admin_client, "analyze", table=TABLE))
        assert second.state == "refused"
        assert "Somebody is at the same" in second.outcome
        page = admin_client.get(reverse("console:run", args=[first]))
        assert "Running" in page.content.decode()
        assert "hx-get" in page.content.decode()
        other("COMMIT")
    assert finished(first).state == "done"


def test_a_lock_that_is_not_to_be_had_fails_the_run(admin_client, dead_rows, monkeypatch):
    monkeypatch.setattr("performance.actions.shapes.LOCK_TIMEOUT", "50ms")
    with session() as (_, other):
        other("BEGIN; LOCK TABLE performance_sample IN SHARE UPDATE EXCLUSIVE MODE")
        run = done(admin_client, "vacuum", table=TABLE)
        other("COMMIT")
    assert run.state == "failed"
    assert "lock timeout" in run.outcome


def test_a_run_whose_process_is_gone_shows_as_interrupted(
    admin_client, dead_rows, settings, monkeypatch
):
    monkeypatch.setattr(Performer, "start", lambda self: None)
    run_id = ask(admin_client, "vacuum", table=TABLE)
    assert state_of(run_id) == "running"
    patience = timedelta(seconds=settings.DB_CONNECT_RETRY)
    LogEntry.objects.update(action_time=timezone.now() - patience)
    assert state_of(run_id) == "running", "it may still be connecting"
    LogEntry.objects.update(action_time=timezone.now() - patience - BEGINS_WITHIN)
    assert state_of(run_id) == "interrupted"
    assert "Interrupted" in admin_client.get(reverse("console:run", args=[run_id])).content.decode()


def test_a_run_that_gets_no_session_fails_and_says_so(
    admin_client, dead_rows, settings, monkeypatch
):
    settings.DB_CONNECT_RETRY = 0

    def start(performer):
        # Others have their connections already.
        with monkeypatch.context() as patched:
            patched.setitem(connection.settings_dict, "USER", "full_house")
            performer.run()

    monkeypatch.setattr(Performer, "start", start)
    value("CREATE ROLE full_house LOGIN CONNECTION LIMIT 0")
    try:
        run = done(admin_client, "vacuum", table=TABLE)
    finally:
        value("DROP ROLE full_house")
    assert run.state == "failed"
    assert "nothing was done" in run.outcome
    assert "full_house" in run.outcome


def test_a_process_does_few_actions_at_once(admin_client, dead_rows):
    for _ in range(MOST_AT_ONCE):
        assert places.acquire(blocking=False)
    try:
        run = done(admin_client, "vacuum", table=TABLE)
    finally:
        places.release(MOST_AT_ONCE)
    assert (run.state, run.outcome) == ("refused", TOO_MANY)
    assert done(admin_client, "vacuum", table=TABLE).state == "done"


def test_a_run_that_nobody_asked_for_is_not_found(admin_client):
    assert admin_client.get(reverse("console:run", args=[uuid4()])).status_code == 404
    assert admin_client.get(reverse("console:action", args=["format_disk"])).status_code == 404


def test_a_post_without_its_arguments_is_a_bad_request(admin_client):
    address = reverse("console:action", args=["vacuum"])
    assert admin_client.post(address, {"run": str(uuid4())}).status_code == 400
    assert admin_client.post(address, {"table": TABLE, "run": "1"}).status_code == 400


def test_the_page_lists_what_can_be_done_and_what_was(admin_client, dead_rows):
    done(admin_client, "vacuum", table=TABLE)
    page = admin_client.get("/admin/performance/actions/").content.decode()
    assert reverse("console:action", args=["create_index"]) in page
    assert "Dead rows: 10,000 before" in page


def test_a_preview_does_not_wait_for_a_lock_that_somebody_holds(admin_client):
    with session() as (_, hold):
        hold("BEGIN; LOCK TABLE performance_sample")
        answer = admin_client.get(reverse("console:action", args=["analyze"]))
    assert "Somebody may hold a lock on it" in answer.content.decode()
