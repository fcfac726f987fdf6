"""gunicorn's configuration: gevent workers, one connection pool each.

Nothing here may import Django or psycopg at module level: this file is read before gevent patches
the standard library, and psycopg picks its way of waiting when it is imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def post_worker_init(worker: Worker) -> None:
    """Refuse to serve when psycopg would block the whole hub on every query; warm the cache."""
    import psycopg.waiting

    from cachelayer.warming import warm_at_start
    from performance.observing import start

    if getattr(psycopg.waiting.wait, "__name__", "") == "wait_c":
        worker.log.error("psycopg was imported before gevent patched the sockets")
        raise SystemExit(4)
    warm_at_start()
    start("web")
    freeze()


def freeze() -> None:
    """Load what the first requests would, and let no collection look at it again.

    A full collection of everything that was imported stops every greenlet for 40 to 130 ms.
    """
    import gc

    from django.urls import get_resolver

    # A property: reading it imports all views.
    _ = get_resolver().url_patterns
    gc.collect()
    gc.freeze()
