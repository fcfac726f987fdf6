from __future__ import annotations

import asyncio
import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from jobs.errors import (
    ClientErrorStatus,
    Overloaded,
    ScrapeError,
    ServerErrorStatus,
    Throttled,
    TransientClientError,
)
from jobs.fetching import AddressPolicy, Fetcher
from jobs.fetching.failures import MAX_RETRY_AFTER, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobs.fetching.tests.conftest import Handler, Origin

    Serve = Callable[[Handler], Awaitable[Origin]]
    FetcherFor = Callable[..., Awaitable[Fetcher]]


brotli = pytest.importorskip("brotli")  # untyped, so not imported plainly


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text="<p>hello", content_type="text/html", charset="utf-8")


async def test_a_page_tells_what_was_fetched_and_when(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    origin = await serve(hello)
    fetcher = await fetcher_for(origin)
    before = datetime.now(UTC)
    page = await fetcher.fetch(origin.url("/a?b=c#d"), timeout=5)
    assert (page.url, page.status) == (origin.url("/a?b=c"), 200)
    assert (page.content_type, page.charset, page.body) == ("text/html", "utf-8", b"<p>hello")
    assert before <= page.fetched_at <= datetime.now(UTC)
    assert page.fetched_at.utcoffset() == timedelta(0)


async def test_a_page_without_content_type_has_an_empty_one(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    async def bare(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return await asyncio.Future()

    origin = await serve(bare)
    page = await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert (page.content_type, page.charset, page.body) == ("", None, b"ok")


async def test_the_request_names_its_agent_and_no_cookie_survives_a_fetch(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    async def set_cookie(request: web.BaseRequest) -> web.Response:
        return web.Response(headers={"Set-Cookie": "id=1; Path=/"})

    origin = await serve(set_cookie)
    fetcher = await fetcher_for(origin)
    await fetcher.fetch(origin.url(), timeout=5)
    await fetcher.fetch(origin.url(), timeout=5)
    first, second = origin.requests
    assert first.headers["User-Agent"] == "tests/1"
    assert "Cookie" not in second.headers


async def test_one_connection_serves_many_fetches(serve: Serve, fetcher_for: FetcherFor) -> None:
    origin = await serve(hello)
    fetcher = await fetcher_for(origin)
    for _ in range(3):
        await fetcher.fetch(origin.url(), timeout=5)
    assert len(set(origin.peers)) == 1


async def test_proxies_from_the_environment_are_ignored(
    serve: Serve, fetcher_for: FetcherFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    origin = await serve(hello)
    page = await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert page.status == 200


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("br", brotli.compress)])
async def test_a_compressed_body_arrives_decoded(
    serve: Serve, fetcher_for: FetcherFor, coding: str, compress: Callable[[bytes], bytes]
) -> None:
    async def packed(request: web.BaseRequest) -> web.Response:
        assert coding in request.headers["Accept-Encoding"]
        return web.Response(body=compress(b"x" * 200_000), headers={"Content-Encoding": coding})

    origin = await serve(packed)
    page = await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert page.body == b"x" * 200_000


async def test_redirects_are_followed_to_the_final_url(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    async def ten_hops(request: web.BaseRequest) -> web.Response:
        hop = int(request.path[1:])
        if hop == 10:
            return web.Response(text="here")
        return web.Response(
            status=(301, 302, 303, 307, 308)[hop % 5], headers={"Location": f"{hop + 1}"}
        )

    origin = await serve(ten_hops)
    page = await (await fetcher_for(origin)).fetch(origin.url("/0"), timeout=5)
    assert (page.url, page.body) == (origin.url("/10"), b"here")


async def test_the_body_of_a_redirect_is_not_read(serve: Serve, fetcher_for: FetcherFor) -> None:
    async def endless_redirect(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/target":
            return web.Response(text="here")
        response = web.StreamResponse(status=302, headers={"Location": "/target"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    origin = await serve(endless_redirect)
    page = await (await fetcher_for(origin, max_bytes=1000)).fetch(origin.url(), timeout=5)
    assert page.body == b"here"
    await asyncio.wait_for(origin.abandoned.wait(), 5)


@pytest.mark.parametrize("status", [300, 302, 304])
async def test_a_redirect_that_leads_nowhere_is_a_final_answer_without_body(
    serve: Serve, fetcher_for: FetcherFor, status: int
) -> None:
    async def nowhere(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text="choose" if status != 304 else None)

    origin = await serve(nowhere)
    page = await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert (page.status, page.body) == (status, b"")


@pytest.mark.parametrize(
    ("status", "kind", "permanent"),
    [
        (400, ClientErrorStatus, True),
        (404, ClientErrorStatus, True),
        (410, ClientErrorStatus, True),
        (499, ClientErrorStatus, True),
        (408, TransientClientError, False),
        (425, TransientClientError, False),
        (429, Throttled, False),
        (500, ServerErrorStatus, False),
        (503, Overloaded, False),
        (599, ServerErrorStatus, False),
    ],
)
async def test_an_error_status_becomes_the_error_that_decides_on_retries(
    serve: Serve, fetcher_for: FetcherFor, status: int, kind: type[ScrapeError], permanent: bool
) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "7"})

    origin = await serve(refuse)
    with pytest.raises(kind, match=str(status)) as caught:
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert type(caught.value) is kind
    assert caught.value.permanent is permanent
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        ("9" * 6000, MAX_RETRY_AFTER),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0),
        ("Fri, 01 Jan 9999 00:00:00 GMT", MAX_RETRY_AFTER),
        (f"Fri, 01 Jan {'9' * 20} 00:00:00 GMT", None),
        (f"Fri, 01 Jan 2027 00:00:00 +{'9' * 20}", None),
    ],
)
def test_retry_after_is_read_as_seconds_within_a_day(
    value: str | None, seconds: float | None
) -> None:
    assert parse_retry_after(value) == seconds


def test_retry_after_may_be_a_date() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert parse_retry_after(in_a_minute) == pytest.approx(60, abs=5)


async def test_a_fetcher_refuses_to_work_outside_its_block() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Fetcher(AddressPolicy(), user_agent="x").fetch("http://example.com/", timeout=1)
