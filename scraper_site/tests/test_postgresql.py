"""The database backend waits for a server that starts, and explains one that does not."""

import socket
import threading
from contextlib import closing

import pytest
from django.db import OperationalError, connection
from django.db.utils import load_backend

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
