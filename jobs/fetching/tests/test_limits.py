from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from jobs.errors import (
    ConnectionFailed,
    FetchTimeout,
    TLSFailure,
    TooLarge,
    TooManyRedirects,
    UnreadableDocument,
)
from jobs.fetching.tests.conftest import FakeResolver

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from jobs.fetching import Fetcher
    from jobs.fetching.tests.conftest import Origin

    Serve = Callable[..., Awaitable[Origin]]
    FetcherFor = Callable[..., Awaitable[Fetcher]]

brotli = pytest.importorskip("brotli")  # untyped, so not imported plainly


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


async def hang(request: web.BaseRequest) -> web.StreamResponse:
    return await asyncio.Future()


async def test_an_endless_body_is_cut_off_at_the_limit(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    origin = await serve(endless)
    with pytest.raises(TooLarge, match="100,000 bytes"):
        await (await fetcher_for(origin, max_bytes=100_000)).fetch(origin.url(), timeout=5)
    await asyncio.wait_for(origin.abandoned.wait(), 5)


async def test_a_body_of_exactly_the_limit_is_accepted(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    async def sized(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"x" * int(request.path[1:]))

    origin = await serve(sized)
    fetcher = await fetcher_for(origin, max_bytes=100_000)
    assert len((await fetcher.fetch(origin.url("/100000"), timeout=5)).body) == 100_000
    with pytest.raises(TooLarge):
        await fetcher.fetch(origin.url("/100001"), timeout=5)


async def test_a_huge_content_length_is_refused_before_any_body_arrives(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    async def lie(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "999999999999"})
        await response.prepare(request)
        return await asyncio.Future()

    origin = await serve(lie)
    with pytest.raises(TooLarge):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)


@pytest.mark.parametrize(
    "bomb",
    [
        ("gzip", gzip.compress(bytes(50_000_000))),
        ("br", brotli.compress(bytes(50_000_000), quality=1)),
        ("gzip", gzip.compress(bytes(1000)) * 20_000),
    ],
    ids=["gzip", "brotli", "many gzip members"],
)
async def test_a_compression_bomb_is_cut_off_at_the_decoded_limit(
    serve: Serve, fetcher_for: FetcherFor, bomb: tuple[str, bytes]
) -> None:
    coding, body = bomb

    async def packed(request: web.BaseRequest) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": coding})

    origin = await serve(packed)
    with pytest.raises(TooLarge):
        await (await fetcher_for(origin, max_bytes=1_000_000)).fetch(origin.url(), timeout=10)


@pytest.mark.parametrize("coding", ["gzip, gzip", "compress", "gzip,br", "nonsense"])
async def test_a_chain_of_codings_or_an_unknown_one_is_refused(
    serve: Serve, fetcher_for: FetcherFor, coding: str
) -> None:
    async def packed(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"??", headers={"Content-Encoding": coding})

    origin = await serve(packed)
    with pytest.raises(UnreadableDocument):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"not gzip at all"),
        ("br", b"not brotli at all"),
        ("deflate", b"not deflate at all"),
        ("zstd", b"not zstd at all"),
    ],
)
async def test_a_body_that_does_not_decode_is_a_failed_connection(
    serve: Serve, fetcher_for: FetcherFor, coding: str, body: bytes
) -> None:
    async def packed(request: web.BaseRequest) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": coding})

    origin = await serve(packed)
    with pytest.raises(ConnectionFailed):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)


async def test_a_redirect_loop_ends_after_ten_hops(serve: Serve, fetcher_for: FetcherFor) -> None:
    async def loop(request: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers={"Location": "/again"})

    origin = await serve(loop)
    with pytest.raises(TooManyRedirects):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert len(origin.requests) == 11


async def test_a_slow_drip_ends_at_the_deadline(serve: Serve, fetcher_for: FetcherFor) -> None:
    async def drip(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)

    origin = await serve(drip)
    with pytest.raises(FetchTimeout, match=r"0\.2 s"):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=0.2)
    await asyncio.wait_for(origin.abandoned.wait(), 5)


async def test_the_deadline_spans_all_redirects(serve: Serve, fetcher_for: FetcherFor) -> None:
    async def slow_hop(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response(status=302, headers={"Location": "/again"})

    origin = await serve(slow_hop)
    with pytest.raises(FetchTimeout):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=0.25)


async def test_waiting_for_a_free_connection_counts_towards_the_deadline(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    origin = await serve(hang)
    fetcher = await fetcher_for(origin, max_connections=1)
    first = asyncio.create_task(fetcher.fetch(origin.url(), timeout=30))
    await origin.entered.wait()
    with pytest.raises(FetchTimeout):
        await fetcher.fetch(origin.url(), timeout=0.1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_cancellation_passes_through_and_closes_the_connection(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    origin = await serve(hang)
    fetcher = await fetcher_for(origin)
    fetch = asyncio.create_task(fetcher.fetch(origin.url(), timeout=30))
    await origin.entered.wait()
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    await asyncio.wait_for(origin.abandoned.wait(), 5)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 90\r\n\r\n\x1f\x8b\x08",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=[
        "nothing",
        "short",
        "half chunk",
        "bad chunk",
        "two lengths",
        "gzip",
        "flood",
        "long",
        "?",
    ],
)
async def test_a_broken_answer_is_a_failed_connection(
    serve: Serve, fetcher_for: FetcherFor, wire: bytes
) -> None:
    async def broken(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(wire)
        request.transport.close()
        return await asyncio.Future()

    origin = await serve(broken)
    with pytest.raises(ConnectionFailed):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)


async def test_tls_with_a_server_that_has_none_is_a_tls_failure(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    origin = await serve(hello)
    with pytest.raises(TLSFailure, match="TLS"):
        await (await fetcher_for(origin)).fetch(f"https://127.0.0.1:{origin.port}/", timeout=5)


async def test_a_certificate_that_nobody_vouches_for_is_a_tls_failure(
    serve: Serve, fetcher_for: FetcherFor, server_tls: ssl.SSLContext
) -> None:
    origin = await serve(hello, server_tls)
    with pytest.raises(TLSFailure, match="self-signed"):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert origin.requests == []


async def test_a_certificate_for_another_host_is_a_tls_failure(
    serve: Serve, fetcher_for: FetcherFor, trusted_tls: ssl.SSLContext
) -> None:
    origin = await serve(hello, trusted_tls)
    fetcher = await fetcher_for(origin, resolver=FakeResolver("127.0.0.1"))
    with pytest.raises(TLSFailure, match=r"other\.test"):
        await fetcher.fetch(origin.url(host="other.test"), timeout=5)


async def test_the_beginning_of_a_document_is_enough_when_it_is_all_that_is_asked_for(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "999999999999"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    origin = await serve(endless)
    page = await (await fetcher_for(origin)).fetch(origin.url(), timeout=5, first_bytes=100_000)
    assert page.body == b"x" * 100_000
    await asyncio.wait_for(origin.abandoned.wait(), 5)
