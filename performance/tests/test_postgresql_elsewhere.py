"""On a PostgreSQL that others look after: of another version, unprepared, as an ordinary role.

There the console shows what it may see, and says what it lacks and who can give it.
"""

from contextlib import contextmanager

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction

from performance.actions.shapes import Refused
from performance.actions.statistics import ResetStatistics
from performance.analysis import checks
from performance.analysis.bottlenecks.looking import look
from performance.analysis.plans import Query, explain
from performance.analysis.postgresql import activity, server
from performance.analysis.suggestions import Suggestion, suggest
from performance.analysis.trials import Untried, trial
from performance.cards.activity import ActivityCard
from performance.cards.budget import BudgetCard
from performance.cards.database import DatabaseCard
from performance.console.pages import CARDS
from performance.console.rendering import rendered
from performance.recorders.queue import QueueSampler
from performance.recorders.statements import NOT_LOADED, StatementsSampler
from performance.recording.process import buffer
from performance.storage.reading import Scope
from performance.tests.sessions import session
from performance.tests.system_postgres import connected, system_postgres

# One server for all of them.
pytestmark = pytest.mark.xdist_group("elsewhere")

SLOW = Query("SELECT * FROM books WHERE shelf = %s", [7])
BOOKS = (
    "CREATE TABLE books (id int, shelf int);"
    "INSERT INTO books SELECT n, n / 10 FROM generate_series(1, 20000) n;"
    "ANALYZE books"
)
GRANT = "GRANT pg_monitor TO scraper"


@pytest.fixture(scope="module")
def elsewhere(django_db_blocker):
    with (
        system_postgres() as found,
        django_db_blocker.unblock(),
        connected(found.ordinary_url),
    ):
        call_command("migrate", verbosity=0)
        sql(BOOKS)
        yield found


@pytest.fixture(autouse=True)
def _there(elsewhere):
    """Whatever a test asks is asked there, and what was recorded of it is nobody's."""
    yield
    buffer.take("")


@pytest.fixture
def hypopg(elsewhere):
    elsewhere.administer("CREATE EXTENSION hypopg")
    yield
    elsewhere.administer("DROP EXTENSION hypopg")


@pytest.fixture
def unloaded(elsewhere):
    """The extension, without the library that counts."""
    elsewhere.administer("CREATE EXTENSION pg_stat_statements")
    yield
    elsewhere.administer("DROP EXTENSION pg_stat_statements")


def sql(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


@contextmanager
def granted(elsewhere):
    """The role may look at others."""
    elsewhere.administer(GRANT)
    try:
        yield
    finally:
        elsewhere.administer("REVOKE pg_monitor FROM scraper")


@contextmanager
def writer():
    """Somebody who has written to the table, and has not committed yet."""
    with session() as (_, run):
        run("BEGIN; INSERT INTO books VALUES (0, 0)")
        yield


def suggested():
    (found,) = suggest(SLOW, explain(SLOW))
    return found


def indexes():
    return sql("SELECT indexname FROM pg_indexes WHERE tablename = 'books'")


@pytest.mark.parametrize("name", CARDS)
def test_no_card_fails(name):
    (one,) = rendered([CARDS[name]], Scope())
    assert one.error == ""


@pytest.mark.parametrize("ask", [QueueSampler().sample, StatementsSampler().sample, look])
def test_what_is_asked_in_the_background_is_answered(ask):
    ask()


@pytest.mark.parametrize("role", ["web", "worker"])
def test_every_boot_check_can_be_made(role):
    found = checks.run(role)
    assert "could not be checked" not in found.values()
    assert found["statements_are_not_counted"] == "pg_stat_statements is not loaded"


def test_the_migrations_leave_out_what_only_an_administrator_may_make():
    assert "CREATE EXTENSION pg_stat_statements" in DatabaseCard().content(Scope()).note


def test_an_extension_without_its_library_is_said_with_what_to_do(unloaded):
    content = DatabaseCard().content(Scope())
    assert content.note.startswith(NOT_LOADED)
    assert content.facts
    StatementsSampler().sample()


def test_a_reset_that_the_role_may_not_make_is_refused_before_it_is_asked_for(unloaded):
    with pytest.raises(Refused, match=r"GRANT EXECUTE ON FUNCTION .* TO scraper"):
        ResetStatistics().preview()


@pytest.mark.parametrize("card", [ActivityCard(), BudgetCard(), DatabaseCard()])
def test_what_is_hidden_from_the_role_is_said_with_what_to_do(elsewhere, card):
    assert GRANT in card.content(Scope()).note
    with granted(elsewhere):
        assert GRANT not in card.content(Scope()).note


def test_sessions_of_other_roles_are_counted_but_what_they_do_is_hidden(elsewhere):
    with psycopg.connect(elsewhere.url, application_name="stranger") as stranger:
        stranger.execute("SELECT 1")
        pid = stranger.info.backend_pid
        assert server.budget().here >= 2
        assert {"application": "stranger", "sessions": 1, "idle": 0} in by_application()
        assert pid not in pids()
        with granted(elsewhere):
            assert {"application": "stranger", "sessions": 1, "idle": 1} in by_application()
            assert pid in pids()


def by_application():
    rows = BudgetCard().content(Scope()).tables[0].rows
    return [{key: row.cells[key] for key in ("application", "sessions", "idle")} for row in rows]


def pids():
    return {one.pid for one in activity.sessions()}


def test_hypopg_tries_an_index_while_others_write(hypopg):
    found = suggested()
    with writer():
        tried = trial(found)
    assert (tried.how, tried.is_worthwhile) == ("hypothetical", True)
    assert any("books_shelf" in step.index for _, step in tried.after.steps)


def test_hypopg_leaves_no_index_and_nothing_in_the_planners_mind(hypopg):
    found = suggested()
    trial(found)
    assert indexes() == []
    assert explain(SLOW).root.kind == "Seq Scan"
    assert sql("SELECT count(*) FROM hypopg()") == [(0,)]


def test_hypopg_tries_an_index_of_a_table_of_any_size(hypopg):
    assert trial(suggested(), largest=0).how == "hypothetical"


def test_hypopg_is_found_in_a_schema_of_its_own(elsewhere):
    elsewhere.administer(
        'CREATE SCHEMA "of extensions"',
        'CREATE EXTENSION hypopg SCHEMA "of extensions"',
        'GRANT USAGE ON SCHEMA "of extensions" TO scraper',
    )
    try:
        assert trial(suggested()).how == "hypothetical"
    finally:
        elsewhere.administer("DROP EXTENSION hypopg", 'DROP SCHEMA "of extensions"')


def test_an_index_that_hypopg_refuses_is_told(hypopg):
    nonsense = Suggestion("public", "books", ("nothing",), SLOW)
    # As in a request that is one transaction: it goes on.
    with transaction.atomic():
        with pytest.raises(Untried, match="nothing"):
            trial(nonsense)
        assert sql("SELECT 1") == [(1,)]


def test_a_hypothetical_index_is_never_run(hypopg):
    tried = trial(suggested(), run=True)
    assert tried.how == "real"
    assert tried.after.was_run
    assert indexes() == []


def test_without_hypopg_a_real_index_is_tried_and_is_gone():
    assert trial(suggested()).how == "real"
    assert indexes() == []


def test_without_hypopg_a_table_that_others_write_to_is_left_alone():
    found = suggested()
    with writer(), pytest.raises(Untried, match="Install hypopg"):
        trial(found)
    assert indexes() == []
