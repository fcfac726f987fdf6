"""gunicorn's configuration: gevent workers, one connection pool each.

Nothing here may import Django or psycopg at module level: this file is read before gevent patches
the standard library, and psycopg picks its way of waiting when it is imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

os.environ["PROCESS_ROLE"] = "web"

from scraper_site.env import environment

bind = f"{environment().bind_host}:{environment().port}"
workers = environment().web_concurrency
worker_class = "gevent"
worker_connections = 1000
wsgi_app = "scraper_site.wsgi:application"
graceful_timeout = 25
timeout = 60
keepalive = 75
accesslog = None
errorlog = "-"
control_socket_disable = True


def on_starting(server: Arbiter) -> None:
    """Give all web processes one place for their metrics, before there are any."""
    from performance.metrics.directory import VARIABLE, make_directory, place

    server.metrics = None
    if not (environment().performance_enabled and environment().metrics_port):
        return
    try:
        directory = make_directory(place())
    except OSError as error:
        server.log.warning("no metrics: they cannot be kept anywhere: %s", error)
        return
    os.environ[VARIABLE] = str(directory)
    from performance.metrics.master import Master

    server.metrics = Master(directory, environment().bind_host, environment().metrics_port)


def when_ready(server: Arbiter) -> None:
    """Answer for them."""
    if server.metrics:
        server.metrics.start(server.log.info)


def pre_fork(server: Arbiter, worker: Worker) -> None:
    """See to it that a web process finds where its metrics go."""
    if server.metrics:
        server.metrics.prepare()


def post_fork(server: Arbiter, worker: Worker) -> None:
    """Look for no garbage in what is imported, which all stays: it is a fifth of the start."""
    import gc

    gc.disable()


def child_exit(server: Arbiter, worker: Worker) -> None:
    """What a web process has counted outlives it; its state does not."""
    if server.metrics:
        server.metrics.ended(worker.pid)


def on_exit(server: Arbiter) -> None:
    """Leave no metrics behind."""
    if server.metrics:
        server.metrics.stop()


def post_worker_init(worker: Worker) -> None:
    """Refuse to serve when psycopg would block the whole hub on every query; warm the cache."""
    import psycopg.waiting

    from cachelayer.warming import warm_at_start
    from performance.observing import start

    if getattr(psycopg.waiting.wait, "__name__", "") == "wait_c":
        worker.log.error("psycopg was imported before gevent patched the sockets")
        raise SystemExit(4)
    warm_at_start()
    # First, so that this collection counts as nobody's pause.
    freeze()
    worker.observer = start("web")


def worker_exit(server: Arbiter, worker: Worker) -> None:
    """Tell what was seen since it was last told."""
    if observer := getattr(worker, "observer", None):
        observer.finish()


def freeze() -> None:
    """Load what the first requests would, let no collection look at it again, and begin with them.

    A full collection of everything that was imported would stop every greenlet.
    """
    import gc

    from django.urls import get_resolver

    from jobs.engine.memory import collect_less

    # A property: reading it imports all views.
    _ = get_resolver().url_patterns
    collect_less()
    gc.enable()
