"""The origin server of the fault suite: pages that name themselves, and a ledger of who had them.

    python -m tests.faults.origin --ledger FILE

`/page/TAG` answers with a page that holds the tag and a serial number, after `delay` seconds.
`/hold/TAG` does so as soon as `POST /release` has been asked, `/deep/N` nests N elements. The
ledger's entries: `event` (begun, served), `tag`, `serial`, `agent` (the User-Agent), `at`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from pathlib import Path

from aiohttp import web

from tests.faults.ledger import Writer, serve

TEXT = "text/html"


class Origin:
    """The pages; everything it tells the ledger is on disk before its client reads the answer."""

    def __init__(self, ledger: Writer) -> None:
        self._ledger = ledger
        self._serials = itertools.count(time.time_ns())
        self._released = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/page/{tag}", self.page),
            web.get("/hold/{tag}", self.hold),
            web.get("/deep/{depth}", self.deep),
            web.post("/release", self.release),
            web.post("/hold", self.take_back),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """A page, after a while if asked."""
        serial = self._note("begun", request)
        await asyncio.sleep(float(request.query.get("delay", 0)))
        return self._answer(request, serial)

    async def hold(self, request: web.Request) -> web.Response:
        """A page that waits for the release."""
        serial = self._note("begun", request)
        await self._released.wait()
        return self._answer(request, serial)

    async def deep(self, request: web.Request) -> web.Response:
        """A document that is hard on its parser."""
        depth = int(request.match_info["depth"])
        return web.Response(text="<div>" * depth + "x" + "</div>" * depth, content_type=TEXT)

    async def release(self, _request: web.Request) -> web.Response:
        """Let every held page go, now and from now on."""
        self._released.set()
        return web.Response()

    async def take_back(self, _request: web.Request) -> web.Response:
        """Hold pages again."""
        self._released.clear()
        return web.Response()

    def _note(self, event: str, request: web.Request, serial: int = 0) -> int:
        serial = serial or next(self._serials)
        agent = request.headers.get("User-Agent", "")
        tag = request.match_info["tag"]
        self._ledger.write(event=event, tag=tag, serial=serial, agent=agent, at=time.time())
        return serial

    def _answer(self, request: web.Request, serial: int) -> web.Response:
        self._note("served", request, serial)
        text = f"<!doctype html><title>{request.match_info['tag']}</title><p>serial {serial}"
        return web.Response(text=text, content_type=TEXT)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="tests.faults.origin")
    parser.add_argument("--ledger", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(serve("origin", lambda: Origin(Writer(options.ledger)).routes()))


if __name__ == "__main__":
    main()
