"""Tables and indexes: what is missing, useless, wasted or not cleared away."""

import pytest
from django.db import connection, transaction

from performance.analysis.postgresql import indexes, server, tables, vacuum
from performance.cards import tables as tables_card
from performance.cards.database import DatabaseCard
from performance.cards.indexes import IndexesCard
from performance.cards.shapes import Health, Level
from performance.cards.tables import TablesCard
from performance.cards.verdicts import is_cold, worst
from performance.storage.reading import Scope
from performance.tests.counters import tell_counters
from performance.tests.telling import cells, fact

# Slots are of the whole server, which other processes of the test run look at too.
pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("replication slots")]


def sql(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


@pytest.fixture
def books():
    sql(
        "CREATE TABLE books (id int PRIMARY KEY, shelf int, title text, kind text);"
        "INSERT INTO books SELECT n, n / 10, repeat('x', 100) || n, 'kind'"
        " FROM generate_series(1, 20000) n"
    )


def duplicates():
    found = indexes.duplicates(indexes.indexes())
    return {(one.index.name, one.covered_by.name) for one in found if one.index.table == "books"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("(shelf)", "(shelf, title)"),
        ("(shelf)", "(shelf) INCLUDE (title)"),
        ("(lower(title))", "(lower(title))"),
        ("(shelf) WHERE id > 3", "(shelf, kind) WHERE id > 3"),
    ],
)
def test_an_index_that_begins_another_is_a_duplicate(books, first, second):
    sql(f"CREATE INDEX b_longer ON books {second}; CREATE INDEX a_shorter ON books {first}")
    assert duplicates() == {("a_shorter", "b_longer")}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("(title)", "(shelf, title)"),
        ("(shelf DESC)", "(shelf, title)"),
        ("(shelf)", "(shelf, title) WHERE id > 3"),
        ("(title text_pattern_ops)", "(title, shelf)"),
        ('(title COLLATE "C")', "(title, shelf)"),
        ("(lower(title))", "(upper(title), shelf)"),
        ("(shelf) INCLUDE (title)", "(shelf, kind)"),
        ("USING hash (shelf)", "(shelf)"),
    ],
)
def test_what_is_sorted_or_filtered_otherwise_is_no_duplicate(books, first, second):
    sql(f"CREATE INDEX one ON books {first}; CREATE INDEX two ON books {second}")
    assert duplicates() == set()


def test_a_unique_index_is_no_duplicate_of_a_longer_one_but_makes_its_plain_twin_one(books):
    sql("CREATE INDEX twin ON books (id); CREATE UNIQUE INDEX guard ON books (id, shelf)")
    assert duplicates() == {("twin", "books_pkey")}


def test_of_two_equal_indexes_only_one_may_go(books):
    sql("CREATE INDEX one ON books (shelf); CREATE INDEX two ON books (shelf)")
    assert duplicates() == {("two", "one")}


def test_a_large_index_that_nobody_uses_is_unused():
    sql(
        "CREATE TABLE books (id int, title text);"
        "INSERT INTO books SELECT n, repeat(md5(n::text), 6) FROM generate_series(1, 60000) n;"
        "CREATE INDEX wide ON books (title); CREATE UNIQUE INDEX guard ON books (title, id);"
        "CREATE INDEX small ON books (id)"
    )
    found = [one.name for one in indexes.indexes() if one.is_unused]
    assert found == ["wide"]


def test_an_index_that_was_never_finished_is_told(books):
    sql("CREATE INDEX half ON books (shelf)")
    sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'half'::regclass")
    health = IndexesCard().content(Scope()).health
    assert health == Health(Level.RED, "half was never finished: drop it and make it again")


@pytest.mark.django_db(transaction=True)
def test_a_large_table_that_is_read_whole_lacks_an_index():
    sql("CREATE TABLE shelves AS SELECT n AS id, n AS width FROM generate_series(1, 20000) n")
    try:
        sql("CREATE INDEX ON shelves (id)")
        with transaction.atomic():
            for number in range(40):
                sql(f"SELECT FROM shelves WHERE width = {number}")
        sql("SET enable_seqscan = off; SELECT FROM shelves WHERE id = 7; RESET enable_seqscan")
        tell_counters()
        (found,) = (one for one in indexes.missing() if one.table == "shelves")
        assert (found.rows, found.index_scans) == (20000, 1)
        assert found.sequential_scans >= 40
    finally:
        sql("DROP TABLE shelves")


def test_a_table_is_told_with_what_it_takes(books):
    sql("ANALYZE books")
    (found,) = (one for one in tables.tables() if one.name == "books")
    assert found.rows == 20_000
    assert found.size == sql("SELECT pg_table_size('books')")[0][0]
    assert found.indexes_size == sql("SELECT pg_indexes_size('books')")[0][0]


def test_tables_come_by_their_size_with_indexes_not_by_name(books):
    sql("CREATE TABLE atlases AS SELECT id, title FROM books WHERE id <= 15000")
    sql("CREATE TABLE zines AS SELECT id, title FROM books WHERE id <= 12000")
    sql("CREATE INDEX ON zines (title); CREATE INDEX ON zines (id, title)")
    mine = ("atlases", "books", "zines")
    assert [one.name for one in tables.tables() if one.name in mine] == [
        "zines",
        "books",
        "atlases",
    ]


def test_a_full_table_is_not_bloated_and_an_emptied_one_is(books):
    sql("ANALYZE books")
    (found,) = (one for one in tables.tables() if one.name == "books")
    before = tables.bloat([found])[found.oid]
    assert before.wasted <= 0.05 * before.size
    sql("DELETE FROM books WHERE id % 4 <> 0; ANALYZE books")
    after = tables.bloat([found])[found.oid]
    assert after.wasted == pytest.approx(0.75 * after.size, rel=0.1)


def test_dead_rows_are_measured_against_the_tables_own_threshold():
    sql("CREATE TABLE calm (id int); ANALYZE calm")
    sql(
        "CREATE TABLE busy (id int) WITH (autovacuum_vacuum_threshold = 7,"
        " autovacuum_vacuum_scale_factor = 0, autovacuum_enabled = off)"
    )
    found = {one.name: one for one in vacuum.vacuum(most=500)}
    assert (found["calm"].threshold, found["calm"].is_automatic) == (50, True)
    assert (found["busy"].threshold, found["busy"].is_automatic) == (7, False)


@pytest.fixture
def ancient(transactional_db):
    """A quiet table of that name beside more busy ones than are shown."""
    names = [f"busy_{number}" for number in range(25)]
    for name in names:
        sql(f"CREATE TABLE {name} (id int) WITH (autovacuum_enabled = off)")
        sql(f"INSERT INTO {name} SELECT generate_series(1, 100); DELETE FROM {name}")
    sql("CREATE TABLE ancient (id int)")
    tell_counters()
    # What is said of its age is taken back, before PostgreSQL does anything about it.
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
    sql(f"DROP TABLE ancient, {', '.join(names)}")


def make_older(age):
    """As if so many transactions had been since the oldest row of `ancient` was written."""
    sql(
        "UPDATE pg_class SET relfrozenxid ="
        f" ((txid_current() - {age} + 4294967296) % 4294967296)::text::xid"
        " WHERE oid = 'ancient'::regclass"
    )


def test_a_quiet_table_whose_rows_are_too_old_comes_before_busy_ones(ancient):
    make_older(1_200_000_000)
    content = TablesCard().content(Scope())
    assert content.health
    assert content.health.level == Level.RED
    assert "ancient has rows so old" in content.health.reason
    first = content.tables[1].rows[0]
    assert (first.cells["table"], first.level) == ("ancient", Level.RED)


def test_what_is_said_of_all_tables_is_of_more_than_are_shown(ancient):
    make_older(900_000_000)
    content = TablesCard().content(Scope())
    assert "ancient" not in [row["table"] for row in cells(content, "vacuum")]
    assert fact(content, "Oldest row, in transactions").value == pytest.approx(9e8, rel=0.01)
    assert fact(content, "Dead rows").value >= 2500


@pytest.mark.parametrize(
    ("hit", "read", "expected"),
    [(0, 20_000, True), (0, 9_000, False), (0, 0, False), (19_900, 100, False)],
)
def test_blocks_of_which_none_is_found_in_memory_are_no_good_sign(hit, read, expected):
    assert is_cold(hit, read) is expected


def test_the_server_tells_of_itself():
    budget, database = server.budget(), server.database()
    assert 0 < budget.here <= budget.open < budget.most < 200
    assert database.size > 0
    assert 0 <= (database.hit_ratio or 0) <= 100
    assert not database.is_replica
    assert server.checkpoints().timed >= 0
    assert server.wal().bytes > 0
    assert (server.replicas(), server.slots()) == ([], [])


def test_an_unused_replication_slot_is_told():
    sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        rows = DatabaseCard().content(Scope()).tables[1].rows
        (row,) = (row for row in rows if "forgotten" in row.cells["subject"])
        assert row.level == Level.YELLOW
        assert "drop it" in row.cells["advice"]
    finally:
        sql("SELECT pg_drop_replication_slot('forgotten')")


def test_the_worst_is_told_first_with_how_many_more():
    complaints = [Health(Level.YELLOW, "meh"), Health(Level.RED, "bad")]
    assert worst(complaints, "fine") == Health(Level.RED, "bad (and 1 more)")
    assert worst([], "fine") == Health(Level.GREEN, "fine")


@pytest.mark.parametrize("card", [DatabaseCard(), TablesCard(), IndexesCard()])
def test_a_card_shows_a_fresh_database_as_healthy(card, monkeypatch):
    # Other tests leave dead rows and empty pages behind, more than a fresh database has.
    monkeypatch.setattr(tables_card, "DEAD_FROM", 10**9)
    sql("TRUNCATE performance_aggregate, performance_sample, performance_value")
    content = card.content(Scope())
    assert content.health
    assert content.health.level == Level.GREEN
    assert content.facts


def test_without_counted_statements_the_card_says_what_to_do():
    sql("DROP EXTENSION pg_stat_statements")
    content = DatabaseCard().content(Scope())
    assert "CREATE EXTENSION pg_stat_statements" in content.note
    assert content.facts
