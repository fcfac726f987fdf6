"""The database backend waits for a server that starts, and explains one that does not."""

import socket
import threading
from contextlib import closing

import pytest
from django.db import InternalError, OperationalError, connection, transaction
from django.db.utils import load_backend

from cachelayer.tests.servers import until
from performance.tests.pooled import ALIAS, ask, pooled
from scraper_site.postgresql.bounded import BoundedConnection, Unanswered

pytestmark = pytest.mark.django_db


@pytest.fixture
def connect(settings):
    """Connects with changed settings; closes what it opened."""
    opened = []

    def connect(retry=0.0, **changes):
        settings.DB_CONNECT_RETRY = retry
        backend = load_backend("scraper_site.postgresql").DatabaseWrapper(
            {**connection.settings_dict, **changes}, alias="other"
        )
        opened.append(backend)
        backend.ensure_connection()
        return backend

    yield connect
    for backend in opened:
        backend.close()


def closed_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def without_socket(port):
    options = {k: v for k, v in connection.settings_dict["OPTIONS"].items() if k != "host"}
    return {"HOST": "127.0.0.1", "PORT": port, "OPTIONS": options, "PASSWORD": "very-secret"}


def test_a_refused_connection_says_where_why_and_what_to_do(connect):
    port = closed_port()
    with pytest.raises(OperationalError) as refusal:
        connect(**without_socket(port))
    message = str(refusal.value)
    assert f"127.0.0.1:{port}" in message
    assert "refused" in message
    assert "DATABASE_URL" in message
    assert "very-secret" not in message


def test_a_refused_connection_is_tried_again_while_time_is_left(connect):
    """A listener that hangs up counts how often it is called."""
    calls = threading.Semaphore(0)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def hang_up():
            for _ in range(2):
                server.accept()[0].close()
                calls.release()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(OperationalError):
            connect(retry=0.5, **without_socket(server.getsockname()[1]))
    assert calls.acquire(blocking=False)
    assert calls.acquire(blocking=False)


def test_an_unknown_database_is_not_worth_waiting_for(connect):
    with pytest.raises(OperationalError, match="does not exist"):
        connect(retry=600, NAME="no_such_database")


def test_a_connection_carries_its_name_and_limits():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('application_name'), current_setting('statement_timeout'),"
            " current_setting('idle_in_transaction_session_timeout'), current_setting('jit')"
        )
        name, statement, idle, jit = cursor.fetchone()
    assert name.startswith("scraper/test/")
    assert (statement, idle, jit) == ("30s", "1min", "off")


def test_a_server_that_does_not_answer_is_given_up_and_so_is_the_connection(settings):
    with BoundedConnection.connect(**connection.get_connection_params()) as bounded:
        bounded.execute("SET statement_timeout = 0")
        session = bounded.info.backend_pid
        settings.DB_STATEMENT_TIMEOUT, settings.DB_CONNECT_TIMEOUT = 0, 0.2
        with pytest.raises(Unanswered, match=r"not answered within 0\.2 s"):
            bounded.execute("SELECT pg_sleep(600)")
        assert bounded.closed
    with connection.cursor() as cursor:  # which goes on: nobody has told the server
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [session])


def test_a_server_that_answers_in_time_is_not_given_up(settings):
    settings.DB_STATEMENT_TIMEOUT, settings.DB_CONNECT_TIMEOUT = 60, 0
    with BoundedConnection.connect(**connection.get_connection_params()) as bounded:
        assert bounded.execute("SELECT pg_sleep(0.2), 7").fetchall() == [("", 7)]


def test_every_pooled_connection_carries_its_limits():
    with pooled(min_size=2, max_size=2) as wrapper:
        both = [wrapper.pool.getconn() for _ in range(2)]
        limits = [
            one.execute(
                "SELECT current_setting('statement_timeout'),"
                " current_setting('idle_in_transaction_session_timeout')"
            ).fetchone()
            for one in both
        ]
        for one in both:
            wrapper.pool.putconn(one)
    assert limits == [("30s", "1min")] * 2


def test_postgresql_ends_an_idle_transaction_and_the_pool_survives_that():
    with pooled(idle_in_transaction="50ms") as wrapper:
        wrapper.set_autocommit(False)
        session = ask("SELECT pg_backend_pid()")
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            until(lambda: is_gone(cursor, session), "the end of the session")
        with pytest.raises(InternalError, match="idle-in-transaction"):
            ask()
        wrapper.close()
        assert ask("SELECT pg_backend_pid()") != session


def test_a_transaction_that_loses_its_connection_ends_without_another_one():
    with pooled() as wrapper:
        with pytest.raises(OperationalError, match="terminat"), transaction.atomic(ALIAS):
            ask("SELECT pg_terminate_backend(pg_backend_pid())")
        assert wrapper.connection is None
        assert wrapper.pool.get_stats()["requests_num"] == 1
        assert wrapper.get_autocommit()
        with transaction.atomic(ALIAS):
            assert ask("SELECT 7") == 7


def is_gone(cursor, session):
    # Within a transaction PostgreSQL shows the sessions of its beginning.
    cursor.execute("SELECT pg_stat_clear_snapshot()")
    cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [session])
    return cursor.fetchone() is None


def test_there_is_one_pool_in_a_process_and_none_where_none_is_configured():
    with pooled() as wrapper:
        assert wrapper.pool is wrapper.copy().pool
    assert getattr(connection, "pool", None) is None
