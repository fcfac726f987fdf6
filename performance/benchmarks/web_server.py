"""A web server of the service as a process of its own, for benchmarks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-m", "gunicorn", "-c", "python:scraper_site.gunicorn_conf"]
ENVIRONMENT = {
    "ALLOWED_HOSTS": "127.0.0.1",
    "DB_POOL_SIZE": "1",
    "HTTPS": "false",
    "LOG_LEVEL": "ERROR",
    "METRICS_PORT": "0",
    "WEB_CONCURRENCY": "1",
}


@contextmanager
def web_server(**environment: str) -> Iterator[str]:
    """The base URL of one web process; requests wait until it has started.

    It ends with the block. `environment` changes what it inherits.
    """
    with web_process(**environment) as (base, _):
        yield base


@contextmanager
def web_process(**environment: str) -> Iterator[tuple[str, int]]:
    """The same, with the id of gunicorn's master, whose child serves."""
    # It inherits a socket that listens already, so that nobody has to ask whether it does.
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        # gunicorn does so too, but later than the first connections are made.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listener.getsockname()[1]
        bind = ["--bind", f"fd://{listener.fileno()}", "--log-level", "error"]
        process = subprocess.Popen(
            [*COMMAND, *bind],
            env=os.environ | ENVIRONMENT | environment,
            pass_fds=[listener.fileno()],
        )
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
