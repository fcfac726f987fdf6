"""Statements that differ in values only are one; others are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from performance.analysis.fingerprint import (
    LONGEST_KNOWN,
    LONGEST_SQL,
    known,
    shape_of,
    statement_of,
)

NUMBERS = st.integers(1, 3_000)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True)


def fingerprint(sql):
    return statement_of(sql).fingerprint


def in_list(number, table="jobs_job"):
    return f'SELECT * FROM "{table}" WHERE "id" IN ({", ".join(["%s"] * number)}) ORDER BY "id"'


def rows(number, columns=3):
    row = f"({', '.join(['%s'] * columns)})"
    return f'INSERT INTO "jobs_job" ("a", "b", "c") VALUES {", ".join([row] * number)} RETURNING id'


@given(NUMBERS, NUMBERS)
def test_the_length_of_a_list_makes_no_difference(one, other):
    assert fingerprint(in_list(one)) == fingerprint(in_list(other))


@given(NUMBERS, NUMBERS)
def test_the_number_of_rows_makes_no_difference(one, other):
    assert fingerprint(rows(one)) == fingerprint(rows(other))


@given(st.integers(0), st.integers(0), st.text(), st.text())
def test_values_in_the_text_make_no_difference(number, other_number, text, other_text):
    def sql(number, text):
        quoted = text.replace("'", "''")
        return f"SELECT a FROM t WHERE a = {number} AND b = '{quoted}' LIMIT {number}"

    assert fingerprint(sql(number, text)) == fingerprint(sql(other_number, other_text))


@given(NAMES, NAMES)
def test_tables_make_a_difference(one, other):
    assert (fingerprint(in_list(2, one)) == fingerprint(in_list(2, other))) == (one == other)


@given(NAMES)
def test_a_shape_has_itself_as_shape(name):
    shape = shape_of(f"SELECT x1, {name} FROM {name} WHERE a = %s AND b IN (1, 2)")
    assert shape_of(shape) == shape


@given(st.text())
def test_any_text_has_a_fingerprint(text):
    assert len(fingerprint(text)) == 16


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('SAVEPOINT "s140_x1"', 'SAVEPOINT "s141_x27"'),
        ('RELEASE SAVEPOINT "s140_x1"', 'RELEASE SAVEPOINT "s2_x2"'),
        ('ROLLBACK TO SAVEPOINT "s140_x1"', 'ROLLBACK TO SAVEPOINT "s2_x2"'),
        (
            'DECLARE "_django_curs_1_sync_1" CURSOR FOR SELECT 1',
            'DECLARE "_django_curs_9_sync_7" CURSOR FOR SELECT 1',
        ),
        ("SELECT a\n  FROM t", "SELECT a FROM t"),
        ("SELECT a FROM t -- why\nWHERE b = 1", "SELECT a FROM t WHERE b = 1"),
        ("SELECT a /* 'x */ FROM t", "SELECT a FROM t;"),
        ("SELECT a FROM t WHERE b = $1", "SELECT a FROM t WHERE b = %s"),
        ("SELECT a FROM t WHERE b = %(b)s", "SELECT a FROM t WHERE b = %s"),
        ("SELECT a FROM t WHERE b = E'it\\'s'", "SELECT a FROM t WHERE b = 'its'"),
        ("SELECT a FROM t WHERE b = $x$ it's $x$", "SELECT a FROM t WHERE b = 'its'"),
        ("SELECT a FROM t WHERE b = -1.5e3", "SELECT a FROM t WHERE b = -2"),
        ("SELECT a FROM t LIMIT 21", "SELECT a FROM t LIMIT 100"),
        (
            "INSERT INTO t VALUES (%s, now(), %s::jsonb)",
            "INSERT INTO t VALUES (%s, now(), %s::jsonb), (%s, now(), %s::jsonb)",
        ),
        ("INSERT INTO t VALUES (%s, NULL)", "INSERT INTO t VALUES (NULL, %s), (%s, DEFAULT)"),
    ],
)
def test_these_are_one(one, other):
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('SAVEPOINT "a"', 'RELEASE SAVEPOINT "a"'),
        ("SELECT a FROM t", "SELECT b FROM t"),
        ("SELECT a FROM t1", "SELECT a FROM t2"),
        ('SELECT a FROM "t1"', 'SELECT a FROM "t2"'),
        ("SELECT a FROM t WHERE b IS NULL", "SELECT a FROM t WHERE b IS NOT NULL"),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b > 1"),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 1 FOR UPDATE"),
    ],
)
def test_these_are_not_one(one, other):
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("sql", "operation", "tables"),
    [
        ('SELECT "a"."b" FROM "a" INNER JOIN "c" ON true', "SELECT", ("a", "c")),
        ("SELECT a FROM only_mine, unnest(%s)", "SELECT", ("only_mine",)),
        ("SELECT extract(epoch FROM a.b) FROM a FOR UPDATE SKIP LOCKED", "SELECT", ("a",)),
        ("SELECT 1 FROM a WHERE b IS DISTINCT FROM c", "SELECT", ("a",)),
        ("SELECT * FROM unnest(%s)", "SELECT", ()),
        ('INSERT INTO "a" ("b") VALUES (%s) ON CONFLICT (b) DO UPDATE SET b = 1', "INSERT", ("a",)),
        ("UPDATE public.a SET b = 1", "UPDATE", ("public.a",)),
        ("DELETE FROM a WHERE b IN (SELECT b FROM c)", "DELETE", ("a", "c")),
        ("WITH x AS (SELECT 1 FROM a) SELECT * FROM x", "SELECT", ("a",)),
        ("WITH x AS (DELETE FROM a RETURNING b) SELECT * FROM x", "DELETE", ("a",)),
        ("  (SELECT 1 FROM a) UNION (SELECT 2 FROM b)", "SELECT", ("a", "b")),
        ("", "", ()),
    ],
)
def test_what_a_statement_does_and_to_which_tables(sql, operation, tables):
    statement = statement_of(sql)
    assert (statement.operation, statement.tables) == (operation, tables)
    assert statement.is_read == (operation == "SELECT")


def test_values_in_the_text_are_not_shown_when_the_table_holds_secrets():
    statement = statement_of("SELECT 1 FROM jobs_apikey WHERE id = 'very secret'")
    assert statement.is_secret
    assert "very secret" not in statement.sql


def test_conditions_in_the_text_are_shown_otherwise():
    assert "'queued'" in statement_of("SELECT 1 FROM jobs_job WHERE state = 'queued'").sql


def test_what_is_shown_is_bounded():
    assert len(statement_of("SELECT " + "a" * 100_000).sql) == LONGEST_SQL


def test_long_texts_are_not_remembered():
    known.cache_clear()
    for number in range(2_000, 2_010):
        assert len(in_list(number)) > LONGEST_KNOWN
        statement_of(in_list(number))
    assert known.cache_info().currsize == 1
