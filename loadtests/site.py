"""The practice site: a shop to scrape, and the origin of every benchmark.

    python -m loadtests.site --port 8801

Serves fixed documents from memory and writes no log, so that a benchmark measures its client.
See `site_knobs` for the paths and query parameters that misbehave.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web

from loadtests.catalogue import PRODUCTS, SEED
from loadtests.site_knobs import Knobs, apply_query_knobs
from loadtests.site_pages import Document, render_site

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

_BACKLOG = 1024
_QUERY_KNOBS = ("delay=", "status=")


class ReadyResponse(web.StreamResponse):
    """A whole HTTP/1.1 answer as bytes, stateless: one object answers any number of requests.

    An ordinary response cannot be sent twice; building one is a third of a request's cost.
    """

    def __init__(self, document: Document) -> None:
        super().__init__()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {document.content_type}\r\n"
            f"Content-Length: {len(document.body)}\r\n\r\n"
        )
        self._wire = head.encode() + document.body
        self.document = document

    @property
    def keep_alive(self) -> bool:
        """Always: `Site` uses another response where the connection must close."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything at once."""
        if request.transport is not None:
            request.transport.write(self._wire)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""


class Site:
    """Answers requests: fixed documents by one dictionary look-up, all else the long way."""

    def __init__(self, documents: dict[str, Document]) -> None:
        self._ready = {path: ReadyResponse(document) for path, document in documents.items()}
        self._knobs = Knobs()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.raw_path
        ready = self._ready.get(path)
        if ready is None:
            path, _, query = path.partition("?")
            if any(knob in query for knob in _QUERY_KNOBS):
                asked_for = await apply_query_knobs(request)
                if asked_for is not None:
                    return asked_for
            if path == "/feed.json":
                path = f"/feed.json?page={request.query.get('page', '1')}"
            ready = self._ready.get(path)
        if ready is None:
            return await self._knobs.answer(request)
        if request.method == "GET" and request.keep_alive and request.version >= (1, 1):
            return ready
        content_type = {"Content-Type": ready.document.content_type}
        return web.Response(body=ready.document.body, headers=content_type)


async def serve(host: str, port: int, products: int, seed: int) -> None:
    """Serve until SIGTERM or SIGINT; announces the address on standard output."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    listener = socket.create_server((host, port), backlog=_BACKLOG)
    base_url = f"http://{host}:{listener.getsockname()[1]}/"
    site = Site(render_site(base_url, products, seed))
    # Knobs that wait end when their client leaves.
    handlers = web.Server(site.handle, handler_cancellation=True, access_log=None)
    server = await loop.create_server(handlers, sock=listener, backlog=_BACKLOG)
    sys.stdout.write(f"practice site ready on {base_url}\n")
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        server.close()
        await handlers.shutdown(timeout=0.5)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="loadtests.site", description="The practice site.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8801, help="0 picks a free one")
    parser.add_argument("--products", type=int, default=PRODUCTS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    uvloop.run(serve(options.host, options.port, options.products, options.seed))


if __name__ == "__main__":
    main()
