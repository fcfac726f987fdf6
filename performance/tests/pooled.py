"""A database with a pool, as web processes have one, beside the test's own connection."""

from contextlib import contextmanager
from typing import Any

from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, connections
from django.db.utils import load_backend

ALIAS = "pooled"
NAME = "PostgreSQL pooled"
settings: dict[str, Any] = {}


@contextmanager
def pooled(idle_in_transaction="1min", **pool):
    """Gives this thread's connection to it; one connection in the pool, unless told."""
    ours = connection.settings_dict
    options = f"{ours['OPTIONS']['options']} -c idle_in_transaction_session_timeout="
    pool = {"min_size": 1, "max_size": 1, "timeout": 5, **pool}
    changed = {"options": f"{options}{idle_in_transaction}", "pool": pool}
    settings.update(ours, OPTIONS={**ours["OPTIONS"], **changed})
    wrapper = mine()
    wrapper.pool.open(wait=True)
    try:
        yield wrapper
    finally:
        mine().close()
        mine().close_pool()
        del connections[ALIAS]


def mine():
    """This thread's connection: tests may have it although Django's settings do not list it."""
    try:
        return connections[ALIAS]
    except connections.exception_class:
        connections[ALIAS] = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, ALIAS)
        return connections[ALIAS]


@contextmanager
def listed():
    """Have Django list it, as it does what is in its settings."""
    connections.settings[ALIAS] = settings
    try:
        yield
    finally:
        del connections.settings[ALIAS]


def ask(statement="SELECT 1"):
    """Run a statement on this thread's connection to it."""
    with mine().cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def request(view, path="/api/v1/jobs"):
    """Call `view` as the server does within a request; the test's own connection stays."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    request_started.send(None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": path})
    try:
        return view()
    finally:
        request_finished.send(None)
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)
