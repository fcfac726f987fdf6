"""Any recorded statement is explained, what is wrong with it is said, and nothing is changed."""

import pytest
from django.db import connection
from django.utils import timezone

from performance.analysis.plan_hints import hints, rows_of
from performance.analysis.plan_tree import own, parse
from performance.analysis.plans import Query, Unexplainable, explain, literal, recorded
from performance.models import Sample, Subject
from performance.tests.sessions import session

pytestmark = pytest.mark.django_db


def sql(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


@pytest.fixture
def books(db):
    """Twenty thousand rows, without an index but on the key."""
    sql(
        "CREATE TABLE books (id int PRIMARY KEY, shelf int, title text);"
        "INSERT INTO books SELECT n, n / 10, 'title ' || n FROM generate_series(1, 20000) n;"
        "ANALYZE books"
    )


def said(plan):
    return [hint.text for hint in hints(plan, rows_of(plan))]


def test_a_statement_is_explained_without_its_values(books):
    plan = explain(Query("SELECT title FROM books WHERE id = %s"))
    assert plan.root.label == "Index Scan using books_pkey on books"
    assert plan.root.conditions == {"Index Cond": "(books.id = $1)"}
    assert (plan.root.rows, plan.was_run, plan.execution) == (1, False, None)


def test_a_statement_as_postgresql_keeps_it_is_explained_too(books):
    plan = explain(Query("SELECT * FROM books WHERE shelf = $1 AND title LIKE $2 LIMIT $3"))
    assert [step.kind for _, step in plan.steps] == ["Limit", "Seq Scan"]


def test_with_its_values_it_is_planned_for_them(books):
    narrow = explain(Query("SELECT * FROM books WHERE id < %s", [5]))
    wide = explain(Query("SELECT * FROM books WHERE id < %s", [19000]))
    assert narrow.root.kind == "Index Scan"
    assert wide.root.kind == "Seq Scan"


def test_a_run_tells_rows_times_and_buffers(books):
    plan = explain(Query("SELECT * FROM books WHERE shelf = %s ORDER BY title", [7]), run=True)
    sort, scan = (step for _, step in plan.steps)
    assert (sort.actual_rows, scan.actual_rows, scan.removed) == (10, 10, 19990)
    assert scan.blocks_hit + scan.blocks_read > 0
    assert plan.was_run
    assert own(sort) <= (sort.time or 0)
    assert plan.share(sort) + plan.share(scan) == pytest.approx(100)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM books WHERE id = %s",
        "WITH gone AS (DELETE FROM books WHERE id = %s RETURNING *) SELECT * FROM gone",
    ],
)
def test_a_write_is_planned_but_not_run_however_it_is_dressed(books, statement):
    assert explain(Query(statement, [1])).writes
    with pytest.raises(Unexplainable, match="writes"):
        explain(Query(statement, [1]), run=True)
    assert sql("SELECT count(*) FROM books") == [(20000,)]


def test_a_write_hidden_in_a_function_is_not_run(books):
    sql(
        "CREATE FUNCTION innocent(n int) RETURNS int LANGUAGE sql"
        " AS 'DELETE FROM books WHERE id = n RETURNING id'"
    )
    with pytest.raises(Unexplainable, match="innocent"):
        explain(Query("SELECT innocent(id) FROM books WHERE id < %s", [9]), run=True)
    assert sql("SELECT count(*) FROM books") == [(20000,)]


def test_a_write_in_a_function_that_lies_about_itself_is_stopped_by_the_transaction(books):
    sql(
        "CREATE FUNCTION inner_liar(n int) RETURNS int LANGUAGE sql VOLATILE"
        " AS 'DELETE FROM books WHERE id = n RETURNING id';"
        "CREATE FUNCTION liar(n int) RETURNS int LANGUAGE plpgsql STABLE"
        " AS 'BEGIN RETURN inner_liar(n); END'"
    )
    with pytest.raises(Unexplainable, match="read-only transaction"):
        explain(Query("SELECT liar(%s)", [9]), run=True)
    assert sql("SELECT count(*) FROM books") == [(20000,)]


@pytest.mark.parametrize("function", ["pg_terminate_backend(1)", "pg_advisory_lock(1)"])
def test_what_a_rollback_does_not_undo_is_not_run(function):
    with pytest.raises(Unexplainable, match="may change something"):
        explain(Query(f"SELECT {function}"), run=True)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1; DELETE FROM books",
        "SELECT 1; COMMIT; DELETE FROM books",
        "DROP TABLE books",
        "COPY books TO PROGRAM 'true'",
        "SELECT nonsense FROM books",
        "",
    ],
)
def test_what_is_no_single_readable_statement_is_refused(books, statement):
    with pytest.raises(Unexplainable):
        explain(Query(statement))
    assert sql("SELECT count(*) FROM books") == [(20000,)]


def test_nothing_is_left_behind_by_an_explanation(books):
    explain(Query("SELECT * FROM books WHERE id = %s"))
    with pytest.raises(Unexplainable):
        explain(Query("SELECT * FROM books WHERE id = %s", ["no number"]))
    assert sql("SELECT count(*) FROM pg_prepared_statements") == [(0,)]
    assert sql("SHOW transaction_read_only") == [("off",)]
    assert sql("SHOW plan_cache_mode") == [("auto",)]


@pytest.mark.django_db(transaction=True)
def test_a_plan_is_not_waited_for_behind_a_table_that_is_being_changed():
    with session() as (_, run):
        run("BEGIN; LOCK TABLE performance_value")
        with pytest.raises(Unexplainable, match="lock timeout"):
            explain(Query("SELECT * FROM performance_value"))


def test_it_is_not_run_without_values():
    with pytest.raises(Unexplainable, match="values"):
        explain(Query("SELECT %s::int"), run=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "'true'"),
        (1.5, "'1.5'"),
        ("it's 100 %", "'it''s 100 %'"),
        ([1, None, 'a "b"'], """'{"1",NULL,"a \\"b\\""}'"""),
        ({"a": "b"}, """'{"a": "b"}'"""),
    ],
)
def test_a_value_is_written_so_that_postgresql_finds_its_type(value, text):
    assert literal(value) == text


def test_values_of_every_kind_reach_the_statement(books):
    statement = (
        "SELECT * FROM books WHERE id = ANY(%s) AND title <> %s"
        " AND %s::jsonb @> '{}' AND %s::int IS NULL"
    )
    values = [[1, 2], "it's 100 %", {"a": [1]}, None]
    assert explain(Query(statement, values), run=True).root.actual_rows == 2


def test_the_slowest_evidence_of_a_query_is_what_is_explained():
    Subject.objects.create(
        type="query", key="abc", document={"sql": "SELECT …"}, seen_at=timezone.now()
    )
    assert recorded("query", "abc") == Query("SELECT …")
    for value in (1.0, 9.0):
        Sample.objects.create(
            type="query", key="abc", instance="web/1", value=value, recorded_at=timezone.now(),
            document={"sql": "SELECT %s", "parameters": [value]},
        )  # fmt: skip
    assert recorded("query", "abc") == Query("SELECT %s", [9.0])
    assert recorded("query", "other") is None


def test_a_large_table_that_is_read_for_a_few_rows_is_told(books):
    assert (
        "all 20,000 rows of books" in said(explain(Query("SELECT * FROM books WHERE shelf = 7")))[0]
    )
    assert said(explain(Query("SELECT * FROM books"))) == []
    assert said(explain(Query("SELECT * FROM books WHERE shelf > 3"))) == []


def test_a_misestimate_is_told(books):
    sql("INSERT INTO books SELECT n, 7, 'x' FROM generate_series(20001, 25000) n")
    plan = explain(Query("SELECT * FROM books WHERE shelf = 7"), run=True)
    assert (plan.root.misestimate or 0) > 100
    assert any("ANALYZE" in text for text in said(plan))


def run(statement):
    return explain(Query(statement), run=True)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM books LIMIT 21",
        "SELECT * FROM books WHERE title <> 'none' LIMIT 21",
        "SELECT * FROM books WHERE shelf < 1000 AND title <> 'none' ORDER BY id LIMIT 21",
        "SELECT 1 WHERE EXISTS (SELECT FROM books WHERE shelf < 3)",
    ],
)
def test_what_is_left_as_soon_as_there_is_enough_is_no_misestimate_and_was_not_read_whole(
    books, statement
):
    assert said(run(statement)) == []


def test_a_limit_that_is_not_reached_hides_no_misestimate(books):
    sql("CREATE TABLE empty AS SELECT * FROM books; ANALYZE empty; DELETE FROM empty")
    assert any("ANALYZE" in text for text in said(run("SELECT * FROM empty LIMIT 100")))


def test_what_is_sorted_before_a_limit_was_read_whole(books):
    sql("CREATE TABLE few AS SELECT * FROM books; ANALYZE few; DELETE FROM few WHERE id > 50")
    plan = run("SELECT * FROM few ORDER BY title LIMIT 20")
    assert [step.is_misestimated for _, step in plan.steps] == [False, False, True]


def test_more_rows_than_expected_are_a_misestimate_also_below_a_limit(books):
    sql("INSERT INTO books SELECT n, 7, 'x' FROM generate_series(20001, 25000) n")
    plan = run("SELECT * FROM books WHERE shelf = 7 LIMIT 4000")
    assert plan.steps[-1][1].is_misestimated


def test_the_inner_side_of_a_semi_join_is_left_at_its_first_row(books):
    sql("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
    sql("CREATE INDEX ON books (shelf); SET LOCAL enable_material = off")
    sql("UPDATE books SET shelf = 1 WHERE id < 10000; ANALYZE books")
    plan = run(
        "SELECT * FROM books a WHERE id < 5"
        " AND EXISTS (SELECT FROM books b WHERE b.shelf = a.shelf)"
    )
    semi = next(step for _, step in plan.steps if step.kind == "Nested Loop (Semi join)")
    assert semi.steps[1].is_cut
    assert not any("ANALYZE" in text for text in said(plan))


def test_what_was_never_executed_has_no_hint(books):
    plan = run("SELECT * FROM books a JOIN books b USING (title) WHERE a.id < 0 AND b.shelf = 7")
    assert any(step.loops == 0 for _, step in plan.steps)
    assert said(plan) == []


def test_all_rounds_of_a_nested_loop_are_the_cost_of_what_goes_round(books):
    sql("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
    sql("SET LOCAL enable_memoize = off")
    plan = explain(Query("SELECT * FROM books a JOIN books b ON a.shelf = b.id"))
    loop, _, inner = (step for _, step in plan.steps)
    assert inner.loops == 1
    assert inner.cost < 10
    assert plan.share(inner) > 80
    assert plan.share(loop) < 10
    assert sum(own(step) for _, step in plan.steps) == pytest.approx(loop.cost)


def test_below_a_limit_only_the_share_that_is_read_is_a_cost(books):
    plan = explain(Query("SELECT * FROM books WHERE shelf < 1900 LIMIT 10"))
    limit, scan = (step for _, step in plan.steps)
    assert scan.cost > 100 * limit.cost
    assert scan.self_cost == pytest.approx(limit.cost)


def test_a_sort_on_disk_is_told(books):
    sql("SET LOCAL work_mem = '64kB'")
    plan = explain(Query("SELECT * FROM books ORDER BY title"), run=True)
    assert any(step.spilled > 64 * 1024 for _, step in plan.steps)
    assert any("work_mem" in text for text in said(plan))


def test_an_index_without_a_condition_on_it_is_told(books):
    sql("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    plan = explain(Query("SELECT * FROM books WHERE shelf < 9 ORDER BY id"))
    assert any("whole of books_pkey" in text for text in said(plan))


def test_a_nested_loop_with_many_rounds_is_told(books):
    sql("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
    plan = explain(Query("SELECT * FROM books a JOIN books b ON a.shelf = b.id"), run=True)
    assert any("20,000 times" in text for text in said(plan))


def test_the_time_of_parallel_processes_is_not_counted_twice():
    scan = {
        "Node Type": "Seq Scan", "Total Cost": 1.0, "Plan Rows": 1, "Plan Width": 1,
        "Actual Total Time": 10.0, "Actual Rows": 5, "Actual Loops": 3,
    }  # fmt: skip
    gather = scan | {
        "Node Type": "Gather", "Actual Total Time": 12.0, "Actual Loops": 1,
        "Workers Launched": 2, "Plans": [scan],
    }  # fmt: skip
    root = parse([{"Plan": gather, "Execution Time": 12.0}]).root
    assert (root.self_time, root.steps[0].self_time, root.steps[0].actual_rows) == (2, 10, 15)
