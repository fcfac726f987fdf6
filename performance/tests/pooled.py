"""A database with a pool, as web processes have one, beside the test's own connection."""

from contextlib import contextmanager
from typing import Any

from django.core.signals import request_finished
from django.db import close_old_connections, connection, connections
from django.db.utils import load_backend
from django.http import HttpResponse
from django.test import RequestFactory

from performance.middleware import RequestsMiddleware

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
    request_finished.disconnect(close_old_connections)
    try:
        return begin(view, path)
    finally:
        request_finished.send(None)
        request_finished.connect(close_old_connections)


def begin(view, path="/api/v1/jobs"):
    """The same without its end."""
    found = []

    def answer(_request):
        found.append(view())
        return HttpResponse()

    RequestsMiddleware(answer)(RequestFactory().get(path))
    return found[0]
