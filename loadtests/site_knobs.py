"""The practice site's misbehaviour: delays, errors, redirects, sizes, broken answers, walls."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from loadtests.site_pages import HTML
from loadtests.site_walls import WALLS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_DELAY = 60.0  # seconds
MAX_SIZE = 64 * 1024 * 1024  # bytes
MAX_HANG = 600.0  # seconds
MAX_DEPTH = 1_000_000
_MAX_REDIRECTS = 1000
_MAX_FLAKY_KEYS = 100_000
_BLOCK = 64 * 1024

_Number = TypeVar("_Number", int, float)


def read_number(
    request: web.BaseRequest, name: str, kind: Callable[[str], _Number], default: _Number
) -> _Number:
    """Return a query parameter as a number; 400 if it is not one or is negative."""
    return to_number(request.query.get(name, str(default)), name, kind)


def to_number(text: str, name: str, kind: Callable[[str], _Number]) -> _Number:
    """Return `text` as a number; 400 if it is not one, is negative or is not finite."""
    try:
        number = kind(text)
    except ValueError:
        number = kind("-1")
    if not 0 <= number < 1e12:
        raise web.HTTPBadRequest(text=f"{name} must be a number of at least 0\n")
    return number


async def apply_query_knobs(request: web.BaseRequest) -> web.Response | None:
    """Obey `delay` (seconds) and `status` with `retry_after`; None if no answer was asked for."""
    await asyncio.sleep(min(read_number(request, "delay", float, 0.0), MAX_DELAY))
    status = read_number(request, "status", int, 0)
    if not status:
        return None
    if not 200 <= status <= 599:
        raise web.HTTPBadRequest(text="status must be from 200 to 599\n")
    retry_after = request.query.get("retry_after")
    headers = {"Retry-After": retry_after} if retry_after else None
    return web.Response(status=status, headers=headers, text=f"status {status}, as asked\n")


class Knobs:
    """Paths that misbehave on request, by first path segment; the rest is their argument."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()
        self._by_name: dict[
            str, Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
        ] = {
            "redirect": self._redirect,
            "redirect-to": self._redirect_to,
            "size": self._size,
            "drip": self._drip,
            "flaky": self._flaky,
            "echo": self._echo,
            "close": self._close,
            "hang": self._hang,
            "wall": self._wall,
            "empty": self._empty,
            "deep": self._deep,
        }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a path of this class; 404 for any other."""
        name, _, argument = request.path[1:].partition("/")
        knob = self._by_name.get(name)
        if knob is None:
            raise web.HTTPNotFound
        try:
            return await knob(request, argument)
        except ConnectionError:  # the client left, which is no event here; nobody gets this
            return web.Response()

    async def _redirect(self, request: web.BaseRequest, argument: str) -> web.Response:
        """`/redirect/N`: N hops to the first listing page."""
        hops = min(to_number(argument, "hops", int), _MAX_REDIRECTS)
        location = f"/redirect/{hops - 1}" if hops > 1 else "/catalogue/page-1"
        return web.Response(status=302, headers={"Location": location})

    async def _redirect_to(self, request: web.BaseRequest, argument: str) -> web.Response:
        """`/redirect-to?url=…`: one hop to anywhere."""
        return web.Response(status=302, headers={"Location": request.query.get("url", "/")})

    async def _size(self, request: web.BaseRequest, argument: str) -> web.StreamResponse:
        """`/size/BYTES`: an HTML document of exactly that many bytes."""
        left = min(to_number(argument, "size", int), MAX_SIZE)
        response = await _start(request, left)
        block = b"<!doctype html><p>" + b"x" * (_BLOCK - 18)
        while left:
            await response.write(block[:left])
            left -= min(left, len(block))
            block = b"x" * _BLOCK
        return response

    async def _deep(self, request: web.BaseRequest, argument: str) -> web.StreamResponse:
        """`/deep/LEVELS`: as many elements, each inside the one before."""
        levels = min(to_number(argument, "levels", int), MAX_DEPTH)
        text = "<!doctype html>" + "<div>" * levels + "down"
        return web.Response(text=text, content_type="text/html")

    async def _drip(self, request: web.BaseRequest, argument: str) -> web.StreamResponse:
        """`/drip?bytes=100&interval=0.1`: one byte every `interval` seconds."""
        size = min(read_number(request, "bytes", int, 100), MAX_SIZE)
        interval = min(read_number(request, "interval", float, 0.1), MAX_DELAY)
        response = await _start(request, size)
        for _ in range(size):
            await response.write(b"x")
            await asyncio.sleep(interval)
        return response

    async def _flaky(self, request: web.BaseRequest, argument: str) -> web.Response:
        """`/flaky/KEY/N`: 500 for the first N requests with that key, then 200."""
        key, _, limit = argument.partition("/")
        failures = to_number(limit, "N", int)
        if len(self._failures) >= _MAX_FLAKY_KEYS:
            self._failures.clear()
        if self._failures[key] < failures:
            self._failures[key] += 1
            return web.Response(status=500, text=f"failure {self._failures[key]} of {failures}\n")
        return web.Response(text="<!doctype html><p>recovered", content_type="text/html")

    async def _echo(self, request: web.BaseRequest, argument: str) -> web.Response:
        """`/echo`: the request's headers as a JSON object."""
        body = json.dumps(dict(request.headers.items()))
        return web.Response(text=body, content_type="application/json")

    async def _close(self, request: web.BaseRequest, argument: str) -> web.StreamResponse:
        """`/close`: the connection drops in the middle of the body."""
        response = await _start(request, 10_000)
        await response.write(b"x" * 5_000)
        if request.transport is not None:
            request.transport.close()
        return response

    async def _hang(self, request: web.BaseRequest, argument: str) -> web.Response:
        """`/hang`: no answer for ten minutes."""
        await asyncio.sleep(MAX_HANG)
        raise web.HTTPGatewayTimeout

    async def _wall(self, request: web.BaseRequest, argument: str) -> web.Response:
        """`/wall/NAME`: a bot wall of `site_walls`, at any path below it too."""
        wall = WALLS.get(argument.partition("/")[0])
        if wall is None:
            raise web.HTTPNotFound
        headers = {"Content-Type": wall.content_type, **wall.headers}
        return web.Response(status=wall.status, headers=headers, text=wall.body)

    async def _empty(self, request: web.BaseRequest, argument: str) -> web.Response:
        """`/empty`: a page that shows nothing; `/empty/blank`: not even markup."""
        body = "" if argument == "blank" else "<!doctype html><title>Shop</title><div id=app></div>"
        return web.Response(text=body, content_type="text/html")


async def _start(request: web.BaseRequest, size: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": HTML})
    response.content_length = size
    await response.prepare(request)
    return response
