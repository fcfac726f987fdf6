"""A missing index is found in a statement's plan, tried without a trace, and adopted."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from performance.analysis import trials
from performance.analysis.index_migrations import migration
from performance.analysis.plan_tree import Step
from performance.analysis.plans import Query, explain
from performance.analysis.suggestions import Suggestion, columns_for, suggest, suggestions, terms
from performance.analysis.trials import Untried, trial
from performance.models import Aggregate, Sample, Subject
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope
from performance.tests.counters import tell_counters
from performance.tests.slow_tables import SQL, fill_samples


def sql(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def samples(db):
    fill_samples()


@pytest.fixture
def books(db):
    sql(
        "CREATE TABLE books (id int, shelf int, kind text);"
        "INSERT INTO books SELECT n, n / 10, 'kind ' || n % 5 FROM generate_series(1, 20000) n;"
        "ANALYZE books"
    )


def suggested(statement, *parameters):
    query = Query(statement, parameters or None)
    return suggest(query, explain(query))


def test_a_slow_statement_leads_to_an_index_on_what_it_filters_by(samples):
    (found,) = suggested(SQL, "web/7", 3)
    assert (found.table, found.columns) == ("performance_sample", ("instance", "value"))


def test_equality_comes_first_and_the_most_selective_column_before_others(books):
    (found,) = suggested("SELECT * FROM books WHERE id > 19000 AND kind = 'kind 1' AND shelf = 9")
    assert found.columns == ("shelf", "kind", "id")


def test_columns_that_are_alike_are_in_the_same_order_in_every_process(books):
    """Names come out of a set in an order that differs from one process to the next."""
    columns = [f"c{number}" for number in range(8)]
    sql(f"CREATE TABLE forms ({', '.join(f'{name} int' for name in columns)})")
    compared = " AND ".join(f"(forms.{name} = 1)" for name in reversed(columns[1:]))
    step = Step("Seq Scan", "forms", "public", "forms", conditions={"Filter": f"({compared})"})
    assert columns_for(step) == ("c1", "c2", "c3")
    ranges = compared.replace("=", ">")
    step = Step("Seq Scan", "forms", "public", "forms", conditions={"Filter": f"({ranges})"})
    assert columns_for(step) == ("c1",)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM books",
        "SELECT * FROM books WHERE shelf = 1 OR kind = 'kind 1' AND id = 1",
        "SELECT * FROM books WHERE lower(kind) = 'x'",
        "SELECT * FROM books WHERE id = shelf",
    ],
)
def test_where_no_plain_index_helps_none_is_suggested(books, statement):
    assert suggested(statement) == []


def test_what_is_there_already_is_not_suggested(books):
    sql("CREATE INDEX ON books (kind, shelf)")
    step = Step("Seq Scan", "books", "public", "books", conditions={
        "Filter": "((books.shelf = 1) AND (books.kind = 'x'::text))"
    })  # fmt: skip
    assert columns_for(step) == ()


@pytest.mark.parametrize(
    ("condition", "parts"),
    [
        ("(a = 1)", ["a = 1"]),
        ("((a = 1) AND (b = 'x AND (y'::text))", ["a = 1", "b = 'x AND (y'::text"]),
        ("((a = 1) OR (b = 2))", ["(a = 1) OR (b = 2)"]),
        ("((a = 1) AND ((b = 2) OR (c = 3)))", ["a = 1", "(b = 2) OR (c = 3)"]),
    ],
)
def test_a_condition_is_taken_apart_at_its_top(condition, parts):
    assert terms(condition) == parts


def test_a_trial_tells_the_gain_and_leaves_nothing_behind(samples):
    (found,) = suggested(SQL, "web/7", 3)
    tried = trial(found)
    assert tried.is_worthwhile
    assert tried.gain > 10
    assert tried.before.root.kind == "Seq Scan"
    assert found.name in {step.index for _, step in tried.after.steps}
    assert explain(found.query).root.kind == "Seq Scan"


def test_a_trial_that_is_run_compares_times(samples):
    (found,) = suggested(SQL, "web/7", 3)
    tried = trial(found, run=True)
    assert tried.before.was_run
    assert tried.after.root.actual_rows == tried.before.root.actual_rows == 1


def test_a_large_table_is_not_held_up_for_a_trial(samples):
    (found,) = suggested(SQL, "web/7", 3)
    with pytest.raises(Untried, match="hypopg"):
        trial(found, largest=1000)


@pytest.mark.parametrize("longest", [0.001, 0.2])
def test_a_trial_that_holds_writes_up_for_too_long_is_given_up(samples, monkeypatch, longest):
    monkeypatch.setattr(trials, "LONGEST", longest)
    (found,) = suggested(f"{SQL} AND (SELECT pg_sleep(0.3)) IS NOT NULL", "web/7", 3)
    with pytest.raises(Untried, match="for more than"):
        trial(found, run=True)
    assert {step.index for _, step in explain(found.query).steps} == {""}


def test_an_index_that_is_not_taken_is_not_worthwhile(books):
    unwise = Suggestion("public", "books", ("kind",), Query("SELECT * FROM books WHERE id > 3"))
    assert not trial(unwise).is_worthwhile


def test_an_index_that_cannot_be_made_is_told(books):
    nonsense = Suggestion("public", "books", ("nothing",), Query("SELECT * FROM books"))
    with pytest.raises(Untried, match="nothing"):
        trial(nonsense)


@pytest.mark.django_db(transaction=True)
def test_an_adopted_suggestion_changes_the_plan(samples):
    (found,) = suggested(SQL, "web/7", 3)
    before = explain(found.query)
    written: dict[str, Any] = {}
    exec(migration(found), written)
    adopted = written["Migration"]("9999_adopted", "performance")
    state = MigrationLoader(connection).project_state()
    with connection.schema_editor(atomic=adopted.atomic) as editor:
        adopted.apply(state.clone(), editor)
        after = explain(found.query)
        adopted.unapply(state.clone(), editor)
    assert (before.root.kind, after.root.kind) == ("Seq Scan", "Index Scan")
    assert after.root.index == found.name
    assert after.root.cost < before.root.cost / 10


def test_a_table_without_a_model_gets_plain_sql(books):
    (found,) = suggested("SELECT * FROM books WHERE shelf = 1")
    written: dict[str, Any] = {}
    exec(migration(found), written)
    (operation,) = written["Migration"].operations
    assert written["Migration"].atomic is False
    assert (
        operation.sql == f'CREATE INDEX CONCURRENTLY "{found.name}" ON "public"."books" ("shelf")'
    )


def test_a_table_that_only_has_the_name_of_a_models_gets_plain_sql(db):
    theirs = Suggestion("archive", "performance_sample", ("instance",), Query(""))
    assert 'ON "archive"."performance_sample"' in migration(theirs)
    ours = Suggestion("public", "performance_sample", ("instance",), Query(""))
    assert "model_name='sample'" in migration(ours)


def test_a_name_is_short_and_always_the_same():
    long = Suggestion("public", "t" * 60, ("ünüsual column", "b"), Query(""))
    assert len(long.name) <= 30
    assert long.name == Suggestion("public", "t" * 60, ("ünüsual column", "b"), Query("other")).name


def record(key, text, calls, milliseconds):
    period = PERIODS["1h"]
    Subject.objects.create(
        type="statement", key=key, document={"sql": text}, seen_at=timezone.now()
    )
    Aggregate.objects.create(
        type="statement", key=key, period=period.seconds, count=calls, sum=milliseconds, max=0,
        bucket=period.bucket(timezone.now().timestamp()), histogram=b"\x80", is_sampled=False,
    )  # fmt: skip


def test_slow_statements_are_looked_through(samples):
    record("1", SQL.replace("%s", "$1", 1).replace("%s", "$2"), 200, 200 * 50)
    record("2", "SELECT * FROM performance_sample WHERE value = $1", 200, 200 * 5)
    record("3", "SET application_name = $1", 200, 200 * 90)
    (found,) = suggestions(Scope())
    assert (found.key, found.mean, found.calls) == ("1", 50, 200)
    assert found.suggestion.columns == ("instance", "value")


def forget_earlier_scans():
    tell_counters()
    sql("SELECT pg_stat_reset_single_table_counters('performance_sample'::regclass)")
    sql("ANALYZE performance_sample")


@pytest.mark.django_db(transaction=True)
def test_what_reads_a_table_whole_too_often_is_looked_through(samples):
    record("2", "SELECT * FROM performance_sample WHERE instance = $1", 200, 200 * 5)
    forget_earlier_scans()
    assert suggestions(Scope()) == []
    by_key = Sample.objects.latest("id").pk
    Sample.objects.get(pk=by_key)
    for number in range(30):
        Sample.objects.filter(instance=str(number)).count()
    tell_counters()
    (found,) = suggestions(Scope())
    assert found.suggestion.columns == ("instance",)
