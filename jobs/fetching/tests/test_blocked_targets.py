from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from jobs.errors import BlockedTarget, ConnectionFailed, DNSFailure, InvalidTarget
from jobs.fetching import AddressPolicy, Fetcher
from jobs.fetching.tests.conftest import FakeResolver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobs.fetching.tests.conftest import Handler, Origin

    Serve = Callable[[Handler], Awaitable[Origin]]
    FetcherFor = Callable[..., Awaitable[Fetcher]]


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.2",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "\uff11\uff12\uff17.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ],
)
async def test_a_literal_private_address_is_blocked(host: str) -> None:
    async with Fetcher(AddressPolicy(), user_agent="x") as fetcher:
        with pytest.raises(BlockedTarget) as caught:
            await fetcher.fetch(f"http://{host}:8000/", timeout=5)
    assert "address that this service does not fetch from" in str(caught.value)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1."])
async def test_an_address_in_another_spelling_is_invalid(host: str) -> None:
    async with Fetcher(AddressPolicy(), user_agent="x") as fetcher:
        with pytest.raises(InvalidTarget):
            await fetcher.fetch(f"http://{host}:8000/", timeout=5)


async def test_a_redirect_to_a_port_that_is_not_allowed_is_blocked_unasked(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    inner = await serve(hello)

    async def inwards(request: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers={"Location": inner.url("/admin")})

    origin = await serve(inwards)
    with pytest.raises(BlockedTarget):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert len(origin.requests) == 1
    assert inner.requests == []


@pytest.mark.parametrize(
    ("location", "refusal"),
    [
        ("http://169.254.169.254/latest/meta-data/", BlockedTarget),
        ("http://[::1]:22/", BlockedTarget),
        ("http://127.1/", InvalidTarget),
        ("ftp://127.0.0.1/", InvalidTarget),
        ("file:///etc/passwd", InvalidTarget),
        ("http://user:secret@127.0.0.1/", InvalidTarget),
        ("//[", InvalidTarget),
    ],
)
async def test_every_hop_is_checked_in_full(
    serve: Serve, fetcher_for: FetcherFor, location: str, refusal: type[Exception]
) -> None:
    async def redirect(request: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    origin = await serve(redirect)
    with pytest.raises(refusal):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)


@pytest.mark.parametrize(
    "answers",
    [
        ("10.0.0.1",),
        ("127.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::1"),
        ("127.0.0.1", "fe80::1%lo"),
    ],
)
async def test_one_bad_answer_denies_the_whole_host(
    serve: Serve, fetcher_for: FetcherFor, answers: tuple[str, ...]
) -> None:
    origin = await serve(hello)
    fetcher = await fetcher_for(origin, resolver=FakeResolver(*answers))
    with pytest.raises(BlockedTarget) as caught:
        await fetcher.fetch(origin.url(host="shop.test"), timeout=5)
    assert not any(address in str(caught.value) for address in answers)
    assert origin.requests == []


async def test_all_waiters_for_one_lookup_are_denied(serve: Serve, fetcher_for: FetcherFor) -> None:
    origin = await serve(hello)
    fetcher = await fetcher_for(origin, resolver=FakeResolver("127.0.0.1", "10.0.0.1"))
    url = origin.url(host="shop.test")
    fetches = (fetcher.fetch(url, timeout=5) for _ in range(5))
    outcomes = await asyncio.gather(*fetches, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BlockedTarget] * 5


async def test_a_host_whose_answers_are_all_good_is_fetched(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    origin = await serve(hello)
    fetcher = await fetcher_for(origin, resolver=FakeResolver("127.0.0.1", "::ffff:127.0.0.1"))
    page = await fetcher.fetch(origin.url(host="shop.test"), timeout=5)
    assert page.body == b"hello"
    assert origin.requests[0].host == f"shop.test:{origin.port}"


class ChangingPolicy(AddressPolicy):
    """Admits what the resolver shows it, then denies every socket: DNS rebinding at its worst."""

    def check(self, ip: str, port: int) -> None:
        resolved = self.__dict__.setdefault("resolved", set())
        if ip in resolved:
            raise BlockedTarget
        resolved.add(ip)


@pytest.mark.parametrize("answers", [("127.0.0.1",), ("127.0.0.1", "127.0.0.2", "::1")])
async def test_an_address_denied_only_at_its_socket_is_blocked_too(
    serve: Serve, fetcher_for: FetcherFor, answers: tuple[str, ...]
) -> None:
    origin = await serve(hello)
    resolver = FakeResolver(*answers)
    fetcher = await fetcher_for(origin, policy=ChangingPolicy(), resolver=resolver)
    with pytest.raises(BlockedTarget):
        await fetcher.fetch(origin.url(host="shop.test"), timeout=5)
    assert origin.requests == []


@pytest.mark.parametrize(
    "resolver",
    [
        FakeResolver(),
        FakeResolver(error=OSError(None, "no")),
        FakeResolver(error=socket.gaierror()),
    ],
)
async def test_a_name_without_address_is_a_dns_failure(resolver: FakeResolver) -> None:
    async with Fetcher(AddressPolicy(), user_agent="x", resolver=resolver) as fetcher:
        with pytest.raises(DNSFailure):
            await fetcher.fetch("http://shop.test/", timeout=5)


async def test_a_refused_connection_says_so_without_the_resolved_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    policy = AddressPolicy.parse([f"127.0.0.1:{port}"])
    resolver = FakeResolver("127.0.0.1")
    async with Fetcher(policy, user_agent="x", resolver=resolver) as fetcher:
        with pytest.raises(ConnectionFailed, match="Connection refused") as caught:
            await fetcher.fetch(f"http://shop.test:{port}/", timeout=5)
    assert "127.0.0.1" not in str(caught.value)
