"""The webhook receiver of the fault suite: it misbehaves as the path says and notes what came.

    python -m tests.faults.receiver --ledger FILE

`/hook/MODE/NAME`, where MODE is ok, error (500), hang, redirect (inwards), gone (410) or huge. The
ledger's entries: `name`, `mode`, `id`, `timestamp`, `signature` (the headers of Standard Webhooks),
`body`, `at`.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from aiohttp import web

from tests.faults.ledger import Writer, serve

HANG = 300.0
HUGE = 64 * 1024 * 1024
INWARDS = "http://127.0.0.1:1/"


class Receiver:
    """The endpoints."""

    def __init__(self, ledger: Writer) -> None:
        self._ledger = ledger
        self._answers = {
            "ok": self._ok,
            "error": self._error,
            "hang": self._hang,
            "redirect": self._redirect,
            "gone": self._gone,
            "huge": self._huge,
        }

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.post("/hook/{mode}/{name}", self.receive)]

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Note a delivery, then answer as asked."""
        mode = request.match_info["mode"]
        self._ledger.write(
            name=request.match_info["name"],
            mode=mode,
            id=request.headers.get("webhook-id", ""),
            timestamp=request.headers.get("webhook-timestamp", ""),
            signature=request.headers.get("webhook-signature", ""),
            body=await request.text(),
            at=time.time(),
        )
        return await self._answers[mode](request)

    async def _ok(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _error(self, _request: web.Request) -> web.Response:
        return web.Response(status=500)

    async def _hang(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(HANG)
        return web.Response()

    async def _redirect(self, _request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": INWARDS})

    async def _gone(self, _request: web.Request) -> web.Response:
        return web.Response(status=410)

    async def _huge(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = HUGE
        await response.prepare(request)
        block = bytes(65_536)
        for _ in range(HUGE // len(block)):
            await response.write(block)
        return response


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="tests.faults.receiver")
    parser.add_argument("--ledger", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(serve("receiver", lambda: Receiver(Writer(options.ledger)).routes()))


if __name__ == "__main__":
    main()
