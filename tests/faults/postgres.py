"""A PostgreSQL of the suite's own, as durable as in production, and what can happen to it."""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg

from scraper_site.embedded import EmbeddedPostgres
from scraper_site.supervisor import Child
from tests.faults.processes import signal_tree, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GATE = 4711

# What the suite watches: every move of a job and every write of a result, in the transaction that
# makes it. `invariants.py` reads these tables.
WATCH = """
CREATE TABLE faults_moves (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    job uuid NOT NULL, old text, new text NOT NULL, old_token uuid, new_token uuid,
    worker text NOT NULL, session text NOT NULL
);
CREATE INDEX ON faults_moves (job, id);
CREATE FUNCTION faults_note_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO faults_moves (job, old, new, old_token, new_token, worker, session)
    VALUES (NEW.id, OLD.state, NEW.state, OLD.claim_token, NEW.claim_token, NEW.worker,
        current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE TRIGGER faults_note_move AFTER UPDATE ON jobs_job FOR EACH ROW
WHEN ((OLD.state, OLD.claim_token) IS DISTINCT FROM (NEW.state, NEW.claim_token))
EXECUTE FUNCTION faults_note_move();

CREATE TABLE faults_results (
    job uuid NOT NULL, operation text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON faults_results (job);
CREATE FUNCTION faults_note_result() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO faults_results (job, operation) VALUES (coalesce(NEW.job_id, OLD.job_id), TG_OP);
    RETURN NULL;
END $$;
CREATE TRIGGER faults_note_result AFTER INSERT OR UPDATE OR DELETE ON jobs_result
FOR EACH ROW EXECUTE FUNCTION faults_note_result();

CREATE FUNCTION faults_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared(TG_ARGV[0]::bigint); RETURN NEW; END $$;
CREATE FUNCTION faults_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'refused by the fault suite' USING ERRCODE = TG_ARGV[0]; END $$;
"""


class Postgres:
    """One server; the methods that break it return at once, `start` when it answers again."""

    def __init__(self, directory: Path) -> None:
        self._embedded = EmbeddedPostgres(directory)
        self._log = directory / "postgres.log"
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return self._embedded.url

    @property
    def socket(self) -> str:
        """What a proxy connects to."""
        return str(self._embedded.sockets / ".s.PGSQL.5432")

    def start(self) -> None:
        """Start it, which after a crash means recovery, and wait until it answers."""
        self._embedded.prepare()
        if self._child is None:
            self._child = Child(self._embedded.command(), self._note)
        else:
            self._child.start()
        until(self._embedded.ready, "PostgreSQL is ready", 60)
        self._embedded.create_database()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is a fast shutdown, SIGQUIT an immediate one, as in a crash."""
        if self._child is not None and self._child.process.poll() is None:
            self.resume()
            self._child.signal(how)
            self._child.finish()

    def mend(self) -> None:
        """Let it answer, whether it is paused or gone."""
        if self._child is not None and self._child.process.poll() is None:
            self.resume()
        else:
            self.start()

    def pause(self) -> None:
        """SIGSTOP every one of its processes."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT every one of its processes."""
        self._signal(signal.SIGCONT)

    def configure(self, name: str, value: str) -> None:
        """Change a setting for every session, from its next statement on."""
        with self.connection() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
            connection.execute("SELECT pg_reload_conf()")
        until(lambda: self.query(f"SHOW {name}") == [(value,)], f"{name} is {value}")

    def terminate_backends(self) -> int:
        """End every session of the service; returns how many."""
        rows = self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'scraper/%'"
        )
        return len(rows)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection past every proxy."""
        with psycopg.connect(self.url, autocommit=True, application_name="faults") as connection:
            yield connection

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, over a connection of its own."""
        with self.connection() as connection:
            cursor = connection.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def gate(self, table: str) -> Iterator[None]:
        """Hold every transaction that inserts into `table`, until the end of the block."""
        with self._trigger(table, "faults_gate", str(GATE)), self.connection() as holder:
            holder.execute("SELECT pg_advisory_lock(%s)", [GATE])
            yield
            holder.execute("SELECT pg_advisory_unlock(%s)", [GATE])

    def held_at_gate(self) -> list[int]:
        """The sessions that wait there."""
        rows = self.query(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted",
            GATE,
        )
        return [pid for (pid,) in rows]

    @contextmanager
    def refusing(self, table: str, sqlstate: str) -> Iterator[None]:
        """Let every insert into `table` fail with that error."""
        with self._trigger(table, "faults_refuse", sqlstate):
            yield

    @contextmanager
    def _trigger(self, table: str, function: str, argument: str) -> Iterator[None]:
        self.query(
            f"CREATE TRIGGER {function} BEFORE INSERT ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION {function}('{argument}')"
        )
        try:
            yield
        finally:
            with suppress(psycopg.OperationalError):
                self.query(f"DROP TRIGGER {function} ON {table}")

    def _signal(self, signum: signal.Signals) -> None:
        assert self._child is not None
        signal_tree(self._child.process.pid, signum)

    def _note(self, _name: str, line: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{line}\n")
