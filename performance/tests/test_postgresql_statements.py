"""What PostgreSQL counts is recorded as what is new, whatever is reset or given up in between."""

import json
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import connection
from django.utils import timezone

from cachelayer.layer import cache_layer
from performance.alerts import evaluating
from performance.analysis import findings
from performance.analysis.bottlenecks import sampler as bottlenecks
from performance.analysis.postgresql import indexes
from performance.analysis.postgresql.rows import version
from performance.entry import Name
from performance.models import Cursor, StatementTotals
from performance.recorders import queue, statements
from performance.recording.process import buffer
from performance.recording.rescue import unobserved
from performance.recording.stream import Stream
from performance.storage.digest import Digest
from performance.storage.trimming import trim

# The server counts for all databases: a reset in one is a reset in all.
pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("statements")]

AVAILABLE = """
SELECT FROM pg_available_extension_versions WHERE name = 'pg_stat_statements' AND version = %s
"""
SQL = "SELECT count(*) FROM django_session WHERE session_key = $1"


@pytest.fixture(autouse=True)
def _empty():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_statements_reset()")
    buffer.take("")
    # As the thread that looks: what is asked by the way is not recorded.
    with unobserved():
        yield


def ask(times=1):
    with connection.cursor() as cursor:
        for number in range(times):
            cursor.execute(f"SELECT count(*) FROM django_session WHERE session_key = '{number}'")


def look(**changes):
    """Look again, as if the last look were a minute ago."""
    for cursor in Cursor.objects.filter(name=statements.CURSOR):
        cursor.position = json.dumps(json.loads(cursor.position) | {"at": 0} | changes)
        cursor.save()
    statements.StatementsSampler().sample()
    return buffer.take("")


def key_of_ours(message):
    return next(one.key for one in message.subjects if one.document["sql"] == SQL)


def calls(message, kind="statement"):
    """How often our statement was called by what is told of it."""
    key = str(StatementTotals.objects.get(pk=ours()).query_id)
    tally = message.tallies.get(Name(kind, key))
    return tally.count if tally else 0


def ours():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT known.id FROM pg_stat_statements said JOIN performance_statementtotals known"
            " ON known.query_id = said.queryid AND known.user_id = said.userid::bigint"
            " WHERE query = %s",
            [SQL],
        )
        return cursor.fetchone()[0]


def test_the_first_look_only_remembers():
    ask(3)
    assert look().tallies == {}
    assert StatementTotals.objects.get(pk=ours()).calls == 3


def test_the_next_look_records_what_is_new():
    ask(3)
    look()
    ask(2)
    message = look()
    assert calls(message) == 2
    rows = message.tallies[Name("statement.rows", key_of_ours(message))]
    assert (rows.count, rows.sum) == (2, 2)


def test_a_statement_that_was_never_seen_counts_whole():
    look()
    ask(4)
    assert calls(look()) == 4


def test_what_nobody_has_called_since_is_not_told():
    ask(1)
    look()
    assert calls(look()) == 0


def test_what_was_idle_for_a_week_does_not_come_back_with_its_past():
    ask(3)
    look()
    trim(timezone.now() + timedelta(days=8))
    assert calls(look()) == 0


def test_after_a_reset_everything_is_new():
    ask(5)
    look()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_statements_reset()")
    ask(7)
    assert calls(look(reset="another")) == 7


def test_a_single_statement_that_began_again_counts_whole():
    ask(5)
    look()
    if version() < 170000:
        pytest.skip("before PostgreSQL 17 it does not say since when it counts a statement")
    query_id = StatementTotals.objects.get(pk=ours()).query_id
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_statements_reset(0, 0, %s)", [query_id])
    ask(6)
    assert calls(look()) == 6


def test_what_postgresql_has_given_up_is_forgotten():
    ask(1)
    look()
    known = StatementTotals.objects.get(pk=ours())
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_statements_reset(0, 0, %s)", [known.query_id])
    look()
    assert not StatementTotals.objects.filter(query_id=known.query_id).exists()


def test_evictions_are_counted():
    look()
    assert look(evicted=-3).tallies[Name("statement.evicted", "")].count == 3


def test_what_another_process_has_just_looked_at_is_left_alone():
    look()
    ask(1)
    assert statements.look() == 0
    assert buffer.take("").tallies == {}


def test_the_console_does_not_count_what_it_asks_itself():
    look()
    StatementTotals.objects.count()
    indexes.indexes()
    statements.trouble()
    queue.state()
    Cursor.objects.filter(name=queue.NAME).delete()
    queue.QueueSampler().sample()
    Digest(Stream(cache_layer().remote, "nobody")).run()
    trim(timezone.now())
    with connection.cursor() as cursor:
        for turn in (evaluating.TRY_LOCK, findings.TRY_LOCK, bottlenecks.TRY_LOCK):
            cursor.execute(turn)
    told = [one.document["sql"] for one in look().subjects]
    signs = ("performance_", "pg_", "jobs_job", "set_config")
    assert not [text for text in told if any(sign in text for sign in signs)]


def test_there_is_no_trouble_with_the_embedded_postgresql():
    assert statements.trouble() == ""


def test_a_missing_extension_is_said_with_what_to_do():
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION pg_stat_statements")
    assert "CREATE EXTENSION pg_stat_statements" in statements.trouble()
    assert statements.look() == 0


def test_an_extension_in_a_schema_of_its_own_is_found():
    with connection.cursor() as cursor:
        cursor.execute('CREATE SCHEMA "the insight"')
        cursor.execute('ALTER EXTENSION pg_stat_statements SET SCHEMA "the insight"')
    assert statements.trouble() == ""
    ask(1)
    look()
    assert StatementTotals.objects.exists()


def test_the_migration_does_not_fail_where_it_may_not_create_the_extension():
    create = import_module("performance.migrations.0002_pg_stat_statements").CREATE
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION pg_stat_statements; CREATE ROLE nobody; SET ROLE nobody")
        cursor.execute(create)
        cursor.execute("RESET ROLE")
    assert statements.trouble() == statements.MISSING


def test_an_extension_of_before_the_upgrade_is_said_with_what_to_do():
    with connection.cursor() as cursor:
        cursor.execute(
            "DROP EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_statements VERSION '1.8'"
        )
    assert "ALTER EXTENSION pg_stat_statements UPDATE" in statements.trouble()
    assert statements.look() == 0


@pytest.mark.parametrize("extension", ["1.9", "1.10", "1.11", "1.12"])
def test_every_version_since_postgresql_14_is_read(extension):
    with connection.cursor() as cursor:
        cursor.execute(AVAILABLE, [extension])
        if cursor.fetchone() is None:
            pytest.skip("this PostgreSQL is older")
        cursor.execute(
            "DROP EXTENSION pg_stat_statements;"
            f"CREATE EXTENSION pg_stat_statements VERSION '{extension}'"
        )
    look()
    ask(4)
    assert calls(look()) == 4
