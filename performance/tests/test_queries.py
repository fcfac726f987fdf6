"""Every query of Django is counted; the slow ones are evidence, without what is private."""

import logging
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection, transaction
from django.http import HttpResponse
from django.urls import include, path
from django.views.generic import DetailView
from psycopg import sql as composed
from psycopg.types.json import Jsonb

from cachelayer.layer import cache_layer
from jobs.engine import duties
from performance.analysis.fingerprint import statement_of
from performance.analysis.suggestions import SLOW_CALLS, SLOW_MEAN
from performance.cards.queries import QueriesCard
from performance.cards.shapes import Health, Level
from performance.conf import performance_settings
from performance.models import Kind
from performance.recorders import queries
from performance.recorders.queries import plain, watched
from performance.recording.governor import IN_REQUESTS
from performance.recording.process import buffer, governor
from performance.recording.rescue import failures, unobserved
from performance.recording.stream import Stream
from performance.recording.watch import Watch, current
from performance.storage.digest import Digest
from performance.storage.reading import Scope

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

HERE = "performance/tests/test_queries.py"
# Evidence is kept of the slowest of a fingerprint: each test asks something of its own.
numbers = count()


def asking(request):
    return HttpResponse(str(User.objects.filter(username="nobody").exists()))


def slow(request):
    run(f"SELECT pg_sleep(0.03), %s AS {request.GET['as']}", ["private"])
    return HttpResponse("done")


urlpatterns = [
    path("asking/", asking),
    path("slow/", slow),
    path("library/<int:pk>/", DetailView.as_view(model=Group)),
    path("", include("scraper_site.urls")),
]


def run(sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor


@pytest.fixture(autouse=True)
def _clean():
    # The connection, and the transaction of the test.
    run("SELECT 1")
    buffer.take("")
    failures.clear()
    yield
    assert not failures


@pytest.fixture
def limits(settings):
    def limits(**seconds):
        settings.PERFORMANCE = settings.PERFORMANCE | seconds
        performance_settings.cache_clear()

    yield limits
    performance_settings.cache_clear()


def new_name():
    return f"name_{next(numbers)}"


def told(sql):
    """What was told of a statement: its tallies by type, its samples and its description."""
    message = buffer.take("test")
    key = statement_of(sql).fingerprint
    tallies = {name.type: tally for name, tally in message.tallies.items() if name.key == key}
    samples = [sample for sample in message.samples if sample.key == key]
    about = [one.document for one in message.subjects if one[:2] == ("query", key)]
    return tallies, samples, about


def test_a_query_is_counted_with_its_rows():
    sql = f"SELECT generate_series(1, 7) AS {new_name()}"
    run(sql)
    tallies, _, [about] = told(sql)
    assert (tallies["query"].count, tallies["query.rows"].sum) == (1, 7)
    assert tallies["query"].sum > 0
    assert about["sql"] == sql
    assert about["operation"] == "SELECT"
    assert (about["file"], about["function"]) == (HERE, "run")


def test_what_a_query_is_is_told_again_once_the_buffer_wants_to_hear_it():
    sql = f"SELECT 1 AS {new_name()}"
    run(sql)
    assert [one["sql"] for one in told(sql)[2]] == [sql]
    run(sql)
    assert told(sql)[2] == []
    buffer.forget()
    run(sql)
    assert [one["sql"] for one in told(sql)[2]] == [sql]


def test_a_query_is_part_of_its_request(client):
    client.get("/asking/")
    message = buffer.take("test")
    tallies = {name.type: tally for name, tally in message.tallies.items() if "/asking" in name.key}
    assert tallies["request.queries"].sum == 1
    assert 0 < tallies["request.database"].sum <= tallies["request"].sum


def test_what_django_asks_by_itself_is_not_told_as_the_fault_of_a_middleware(client):
    client.get("/library/5/")
    found = [one.document for one in buffer.take("test").subjects if one.type == "query"]
    [about] = [one for one in found if one["tables"] == ["auth_group"]]
    assert (about["file"], about["line"]) == ("", 0)


def test_a_query_of_a_request_stands_for_its_like():
    token = current.set(Watch(4.0))
    sql = f"SELECT 1 AS {new_name()}"
    run(sql)
    current.reset(token)
    tally = told(sql)[0]["query"]
    assert (tally.count, tally.is_sampled) == (4, True)


def test_what_is_only_counted_is_not_looked_at():
    token = current.set(Watch(0.0))
    run("SELECT 1")
    current.reset(token)
    assert not buffer.take("test").tallies


def test_the_console_does_not_watch_itself():
    with unobserved():
        run("SELECT 1")
    assert not buffer.take("test").tallies


def test_many_at_once_are_one_query_with_all_its_rows():
    sql = (
        "INSERT INTO jobs_domain"
        " (host, crawl_delay, penalty, failures, opened, next_at, updated_at)"
        " VALUES (%s, 0, 0, 0, 0, now(), now())"
    )
    with connection.cursor() as cursor:
        cursor.executemany(sql, [(f"{number}.test",) for number in range(30)])
    tallies, _, [about] = told(sql)
    assert (tallies["query"].count, tallies["query.rows"].sum) == (1, 30)
    assert about["tables"] == ["jobs_domain"]


def test_a_savepoint_has_one_name():
    for _ in range(2):
        with transaction.atomic():
            run("SELECT 1")
    tallies, _, _ = told('SAVEPOINT "any"')
    assert tallies["query"].count == 2


def test_what_psycopg_composes_is_known_by_its_text():
    name = new_name()
    run(composed.SQL("SELECT 1 AS {}").format(composed.Identifier(name)))
    assert told(f'SELECT 1 AS "{name}"')[0]["query"].count == 1


def test_a_query_that_fails_is_counted_and_fails():
    sql = f"SELECT 1/0 AS {new_name()}"
    with pytest.raises(DatabaseError), transaction.atomic():
        run(sql)
    tallies, _, _ = told(sql)
    assert (tallies["query"].count, tallies["query.error"].count) == (1, 1)


def test_a_duty_is_recorded_without_a_request():
    now = datetime.now(UTC)
    duties.register(now)
    buffer.take("")
    later = now + timedelta(hours=2)
    duties.run(duties.DUTIES["old_answers"], now=later, worker="worker/1")
    message = buffer.take("test")
    keys = {name.key for name in message.tallies if name.type == "query"}
    assert statement_of(duties.LOCK).fingerprint in keys


def test_a_connection_is_watched_once_however_often_it_is_connected():
    connection.copy().close()
    other = connection.copy()
    for _ in range(2):
        other.connect()
        other.close()
    assert other.execute_wrappers.count(watched) == 1


def test_a_wrapper_of_somebody_else_is_taken_off_again_not_ours():
    other = connection.copy()

    def wrapper(execute, *arguments):
        return execute(*arguments)

    with other.execute_wrapper(wrapper):
        other.connect()
    assert other.execute_wrappers == [watched]
    other.close()


def test_a_slow_query_is_kept_with_its_line_and_view_and_logged(client, limits, caplog):
    limits(slow_query=0.02)
    name = new_name()
    client.get(f"/slow/?as={name}")
    tallies, [sample], _ = told(f"SELECT pg_sleep(0.03), %s AS {name}")
    assert sample.document["view"] == "GET /slow/"
    assert (sample.document["file"], sample.document["function"]) == (HERE, "run")
    assert sample.document["parameters"] == ["private"]
    assert tallies[Kind.SLOW_QUERY].count == 1
    [record] = [one for one in caplog.records if sample.key in one.getMessage()]
    assert record.levelno == logging.WARNING
    assert "private" not in caplog.text


def test_a_very_slow_query_is_an_error(limits, caplog):
    limits(slow_query=0.01, very_slow_query=0.02)
    sql = f"SELECT pg_sleep(0.03) AS {new_name()}"
    run(sql)
    key = statement_of(sql).fingerprint
    assert [one.levelno for one in caplog.records if key in one.getMessage()] == [logging.ERROR]


def test_the_slowest_are_kept_though_they_are_not_slow():
    sql = f"SELECT pg_sleep(0.03) AS {new_name()}"
    run(sql)
    tallies, [sample], _ = told(sql)
    assert sample.document["view"] == f"thread {threading.current_thread().name}"
    assert Kind.SLOW_QUERY not in tallies


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_sleep(0.03), %s AS {} FROM (SELECT 1) a LEFT JOIN auth_user ON true LIMIT 1",
        "WITH gone AS (DELETE FROM jobs_domain WHERE host = %s RETURNING 1)"
        " SELECT pg_sleep(0.03), 1 AS {}",
    ],
)
def test_values_are_not_kept_of_writes_nor_of_tables_with_secrets(sql):
    sql = sql.format(new_name())
    run(sql, ["secret"])
    _, [sample], _ = told(sql)
    assert "parameters" not in sample.document


def test_named_values_are_kept_in_their_order():
    name = new_name()
    run(f"SELECT pg_sleep(0.03), %(b)s, %(a)s AS {name}", {"a": 1, "b": "two"})
    _, [sample], _ = told(f"SELECT pg_sleep(0.03), %s, %s AS {name}")
    assert sample.document["sql"] == f"SELECT pg_sleep(0.03), %s, %s AS {name}"
    assert sample.document["parameters"] == ["two", 1]


def test_of_too_many_values_none_is_kept():
    sql = f"SELECT pg_sleep(0.03) AS {new_name()} WHERE 1 IN ({', '.join(['%s'] * 101)})"
    run(sql, list(range(101)))
    _, [sample], _ = told(sql)
    assert "parameters" not in sample.document


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (5, 5),
        (2**70, str(2**70)),
        (0.5, 0.5),
        (float("nan"), "nan"),
        ("x" * 200, "x" * 200),
        ([1, [None, "x"]], [1, [None, "x"]]),
        (Decimal("1.5"), "1.5"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
    ],
)
def test_values_are_kept_short_and_plain(value, kept):
    assert plain(value) == kept


@pytest.mark.parametrize(
    "value",
    ["x" * 201, 10**200, b"x", timedelta(1), [0] * 101, ["x" * 201], Jsonb({"a": 1})],
)
def test_values_are_kept_whole_or_not_at_all(value):
    sql = f"SELECT pg_sleep(0.03), %s AS {new_name()}"
    run(sql, [value])
    _, [sample], _ = told(sql)
    assert "parameters" not in sample.document
    assert sample.document["sql"] == sql


def test_a_query_is_run_whatever_goes_wrong_with_its_record():
    with connection.cursor() as cursor:
        context = {"connection": connection, "cursor": cursor}
        assert watched(lambda *_: "found", object(), None, False, context) == "found"
    assert failures.pop("query") == 1


def test_what_a_record_takes_is_counted_as_a_part_of_its_cost(monkeypatch):
    # When the query begins, when it has ended, when it is recorded.
    times = iter([10.0, 11.0, 11.5])
    monkeypatch.setattr(queries, "perf_counter", lambda: next(times))
    before = governor.spent
    with connection.cursor() as cursor:
        context = {"connection": connection, "cursor": cursor}
        watched(lambda *_: None, "SELECT 1", None, False, context)
    assert governor.spent - before == pytest.approx(0.5 * IN_REQUESTS)


@pytest.fixture
def shown():
    remote = cache_layer().remote
    remote.call(("UNLINK", "test:performance"))
    stream = Stream(remote, "test")

    def shown():
        stream.append(buffer.take("web/1"))
        with unobserved():
            Digest(stream).run()
            return QueriesCard().content(Scope())

    return shown


def test_the_card_says_what_to_do_when_there_is_nothing(shown):
    assert "Send some requests" in shown().empty


def test_the_card_tells_what_a_query_costs_and_where_it_is(shown, admin_client):
    buffer.take("")
    sql = f"SELECT pg_sleep(0.03), generate_series(1, 3) AS {new_name()}"
    run(sql)
    run("SELECT 1")
    content = shown()
    costliest, slowest = content.tables
    [row] = [row for row in costliest.rows if row.cells["sql"] == sql]
    assert (row.cells["calls"], row.cells["rows"]) == (1, 3)
    assert row.cells["origin"].startswith(f"{HERE}:")
    assert 0 < row.cells["share"] < 100
    assert sql in [row.cells["sql"] for row in slowest.rows]
    with unobserved():
        assert sql in admin_client.get(row.url).text
    assert content.facts[0].value == 2


def test_no_slow_query_is_green(shown):
    buffer.record("query.all", "SELECT", 1.0)
    assert shown().health == Health(Level.GREEN, "no query took more than 1 s")


def test_what_is_often_slow_is_told_before_what_was_slow_once(shown):
    buffer.record("query.all", "SELECT", 1500.0)
    buffer.record(Kind.SLOW_QUERY.value, "once", 1500.0)
    assert shown().health == Health(Level.YELLOW, "1 query took more than 1 s")
    for _ in range(SLOW_CALLS):
        buffer.record("query", "often", SLOW_MEAN)
    buffer.describe("query", "often", {"sql": "SELECT 1 FROM jobs_job", "tables": ["jobs_job"]})
    reason = "1 query is slow though often used, on jobs_job: 20 ms on average"
    assert shown().health == Health(Level.YELLOW, reason)


def test_a_very_slow_query_is_red(shown):
    buffer.record("query.all", "SELECT", 5500.0)
    buffer.record(Kind.SLOW_QUERY.value, "once", 5500.0)
    buffer.sample("query", "once", 5500.0, {"sql": "SELECT 1"})
    content = shown()
    assert content.health == Health(Level.RED, "a query took 5.5 s")
    assert content.tables[1].rows[0].level == Level.RED
