"""Answers `GET /metrics` on a port of its own, from a thread, whatever else the process does."""

from __future__ import annotations

import logging
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from prometheus_client import MetricsHandler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

logger = logging.getLogger(__name__)

PATH = "/metrics"
# Seconds that a client may take to ask, or to read.
PATIENCE = 5.0


class Handler(MetricsHandler):
    """Knows one path, and does not wait for ever for who connects and says nothing."""

    timeout = PATIENCE
    server_version = "metrics"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802  the name that http.server calls
        """The metrics."""
        if urlsplit(self.path).path == PATH:
            super().do_GET()
        else:
            self.send_error(404, explain=f"Metrics are at {PATH}.")


class Server(ThreadingHTTPServer):
    """Listens as soon as it is made; raises OSError when the port is taken."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking the network for this host's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = cast("tuple[str, int]", self.server_address[:2])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who scrapes and goes away, or is told nothing, comes again."""
        logger.warning("metrics were not answered", exc_info=True)


def serve(registry: CollectorRegistry, host: str, ports: Iterable[int]) -> Server | None:
    """A server on the first of the ports that is free; None when all are taken."""
    for port in ports:
        try:
            server = Server((host, port), Handler.factory(registry))
        except OSError:
            continue
        Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        return server
    return None
