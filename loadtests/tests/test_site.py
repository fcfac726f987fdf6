from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from loadtests.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

READY = b"practice site ready on "
PRODUCTS = 100


def start(*options: str) -> tuple[subprocess.Popen[bytes], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests.site", "--port", "0", *options],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(READY)
    return process, line[len(READY) :].decode().strip()


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> bytes:
    """Return what the site has written since it was ready."""
    process.send_signal(how)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    return out + err


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The base URL of a running practice site; it must stop cleanly and have logged nothing."""
    process, base_url = start("--products", str(PRODUCTS))
    yield base_url
    assert stop(process) == b""


@pytest.fixture
async def client(site: str) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(site, timeout=timeout, auto_decompress=False) as session:
        yield session


async def read(client: aiohttp.ClientSession, path: str) -> tuple[int, bytes]:
    async with client.get(path, allow_redirects=False) as response:
        return response.status, await response.read()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_the_site_stops_cleanly_even_with_a_request_hanging(how: signal.Signals) -> None:
    process, base_url = start("--products", "10")
    async with aiohttp.ClientSession(base_url) as client:
        await read(client, "/")
        hanging = asyncio.create_task(read(client, "/hang"))
        await read(client, "/?delay=0.05")  # the other request is under way by now
        assert stop(process, how) == b""
        with pytest.raises(aiohttp.ClientConnectionError):
            await hanging


async def test_two_sites_with_the_same_seed_serve_the_same_bytes(
    client: aiohttp.ClientSession,
) -> None:
    process, other_url = start("--products", str(PRODUCTS))
    other_seed, other_seed_url = start("--products", str(PRODUCTS), "--seed", "8")
    async with aiohttp.ClientSession() as other:
        for path in ("catalogue/page-2", "products/P000007", "feed.json?page=3"):
            page = await read(client, f"/{path}")
            assert page[0] == 200
            assert await read(other, other_url + path) == page
            assert await read(other, other_seed_url + path) != page
    stop(process)
    stop(other_seed)


async def test_listing_pages_link_to_their_neighbours(client: aiohttp.ClientSession) -> None:
    bodies = [(await read(client, f"/catalogue/page-{page}"))[1] for page in (1, 2, 3)]
    assert [b'rel="prev"' in body for body in bodies] == [False, True, True]
    assert [b'rel="next"' in body for body in bodies] == [True, True, False]
    assert b'href="/catalogue/page-3">next' in bodies[1]
    assert (await read(client, "/catalogue/page-4"))[0] == 404


async def test_the_other_documents_are_there(client: aiohttp.ClientSession, site: str) -> None:
    assert b"/catalogue/page-3" in (await read(client, "/"))[1]
    assert catalogue(PRODUCTS)[4].name.encode() in (await read(client, "/products/P000005"))[1]
    robots = (await read(client, "/robots.txt"))[1].decode()
    assert "Disallow: /private/" in robots
    assert "User-agent: slowbot" in robots
    assert f"Sitemap: {site}sitemap.xml" in robots
    assert (await read(client, "/private/prices"))[0] == 200
    assert (await read(client, "/sitemap.xml"))[1].count(b"<loc>") == 1 + 3 + PRODUCTS


async def test_the_feed_is_paged(client: aiohttp.ClientSession) -> None:
    first = json.loads((await read(client, "/feed.json"))[1])
    last = json.loads((await read(client, "/feed.json?unique=1&page=3"))[1])
    assert (first["page"], first["pages"], len(first["products"])) == (1, 3, 40)
    assert [item["sku"] for item in last["products"]] == [p.sku for p in catalogue(PRODUCTS)[80:]]


async def test_an_unknown_query_changes_nothing(client: aiohttp.ClientSession) -> None:
    plain = await read(client, "/catalogue/page-1")
    assert await read(client, "/catalogue/page-1?unique=1") == plain


async def test_a_connection_serves_many_requests_unless_the_client_asks_to_close(
    client: aiohttp.ClientSession, site: str
) -> None:
    for headers, is_reused in (({}, True), ({"Connection": "close"}, False)):
        async with client.get("/", headers=headers) as response:
            assert (response.headers.get("Connection") != "close") is is_reused
            await response.read()
    async with client.head("/") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_status_and_retry_after_are_served_on_any_path(
    client: aiohttp.ClientSession,
) -> None:
    for path in ("/", "/products/P000001", "/unknown", "/echo"):
        async with client.get(f"{path}?status=503&retry_after=2") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "2")


async def test_delay_waits_before_the_answer(client: aiohttp.ClientSession) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await read(client, "/?delay=0.2"))[0] == 200
    assert loop.time() - began >= 0.2


async def test_redirects_lead_to_the_first_listing_page(client: aiohttp.ClientSession) -> None:
    async with client.get("/redirect/5") as response:
        assert (len(response.history), response.url.path) == (5, "/catalogue/page-1")
    async with client.get("/redirect-to?url=/robots.txt") as response:
        assert response.url.path == "/robots.txt"


@pytest.mark.parametrize("size", [0, 1, 17, 65536, 1_000_001])
async def test_size_serves_exactly_that_many_bytes(
    client: aiohttp.ClientSession, size: int
) -> None:
    status, body = await read(client, f"/size/{size}")
    assert (status, len(body)) == (200, size)


async def test_size_is_capped_at_64_mebibytes(client: aiohttp.ClientSession) -> None:
    async with client.get("/size/99999999999") as response:
        assert response.content_length == 64 * 1024 * 1024


async def test_drip_sends_one_byte_after_another(client: aiohttp.ClientSession) -> None:
    async with client.get("/drip?bytes=3&interval=0.05") as response:
        assert [await response.content.readany() for _ in range(3)] == [b"x"] * 3


async def test_flaky_fails_as_often_as_asked_for_each_key(client: aiohttp.ClientSession) -> None:
    statuses = [(await read(client, f"/flaky/{key}/2"))[0] for key in "aaabba"]
    assert statuses == [500, 500, 200, 500, 500, 200]


async def test_echo_tells_the_headers_it_received(client: aiohttp.ClientSession) -> None:
    async with client.get("/echo", headers={"X-Test": "yes"}) as response:
        assert (await response.json())["X-Test"] == "yes"


async def test_close_drops_the_connection_in_the_body(client: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await read(client, "/close")


@pytest.mark.parametrize(
    "path",
    [
        "/?delay=soon",
        "/?delay=-1",
        "/?delay=nan",
        "/?status=99",
        "/?status=x",
        "/size/-1",
        "/redirect/x",
    ],
)
async def test_a_knob_that_makes_no_sense_is_a_bad_request(
    client: aiohttp.ClientSession, path: str
) -> None:
    assert (await read(client, path))[0] == 400


async def test_a_wall_stands_on_every_path_below_its_name(client: aiohttp.ClientSession) -> None:
    for path in ("/wall/cloudflare", "/wall/cloudflare/robots.txt"):
        async with client.get(path) as response:
            assert (response.status, response.headers["cf-mitigated"]) == (403, "challenge")
            assert b"Just a moment..." in await response.read()
    assert (await read(client, "/wall/unheard-of"))[0] == 404


async def test_an_empty_page_has_a_title_or_nothing_at_all(client: aiohttp.ClientSession) -> None:
    assert b"<title>" in (await read(client, "/empty"))[1]
    assert await read(client, "/empty/blank") == (200, b"")
