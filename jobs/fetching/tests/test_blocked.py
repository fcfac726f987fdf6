from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from jobs.errors import BlockedPage, ClientErrorStatus, ScrapeError
from jobs.fetching.blocked import LARGEST_SUCCESSFUL_WALL, find_wall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobs.fetching import Fetcher
    from jobs.fetching.tests.conftest import Origin

    Serve = Callable[..., Awaitable[Origin]]
    FetcherFor = Callable[..., Awaitable[Fetcher]]


@pytest.mark.parametrize(
    ("wall", "vendor"),
    [
        ("cloudflare", "Cloudflare"),
        ("cloudflare-503", "Cloudflare"),
        ("cloudflare-block", "Cloudflare"),
        ("datadome", "DataDome"),
        ("datadome-json", "DataDome"),
        ("human", "HUMAN"),
        ("imperva", "Imperva"),
        ("imperva-pardon", "Imperva"),
        ("akamai", "Akamai"),
        ("akamai-challenge", "Akamai"),
        ("aws-challenge", "AWS WAF"),
        ("aws-captcha", "AWS WAF"),
        ("amazon", "Amazon"),
        ("google", "Google"),
        ("captcha", "captcha"),
    ],
)
async def test_a_bot_wall_is_a_blocked_page_whatever_its_status(
    practice_site: str, practice_fetcher: Fetcher, wall: str, vendor: str
) -> None:
    with pytest.raises(BlockedPage, match=rf"\({vendor}\)") as caught:
        await practice_fetcher.fetch(f"{practice_site}/wall/{wall}", timeout=5)
    assert not caught.value.permanent
    assert "download" in caught.value.phases


WIDGET = '<div class="g-recaptcha" data-sitekey="k"></div>'
INNOCENT = {
    "a contact form with a captcha": (
        f"<title>Contact: are you a robot?</title><form><input name=mail>{WIDGET}</form>"
    ),
    "a login that verifies": (
        "<title>Verify you're you</title><form><input type=password>"
        '<div class="cf-turnstile"></div></form>'
    ),
    "an order form": f"<title>Security check</title><select><option>1</select>{WIDGET}",
    "a newsletter with a captcha": f"<title>Robot vacuums</title><p>Cheap</p>{WIDGET}",
    "an article about captchas": "<title>How a captcha works</title><p>g-recaptcha, h-captcha</p>",
    "an article with the markup": (
        "<title>Just a moment...</title><pre>&lt;div id='px-captcha'>&lt;script>_pxAppId "
        '&lt;iframe id="main-iframe" src="/_Incapsula_Resource?</pre>'
    ),
    "a short story": "<title>Just a moment...</title><p>She said.</p>"
    '<script src="/cdn-cgi/challenge-platform/h/b/scripts/jsd/main.js"></script>',
    "a page that Cloudflare watches": (
        "<title>Shop</title><p>Chairs</p><script>window.__CF$cv$params={r:'8f'};"
        "a.src='/cdn-cgi/challenge-platform/scripts/jsd/main.js'</script>"
    ),
    "a page that Imperva watches": (
        '<title>Shop</title><script src="/_Incapsula_Resource?SWJIYLWA=719d"></script>'
    ),
    "a page that DataDome watches": (
        '<title>Shop</title><script>window.ddjskey="k"</script>'
        '<script src="https://js.datadome.co/tags.js"></script>'
    ),
    "a page that HUMAN watches": '<title>Shop</title><script>window._pxAppId="PX1"</script>',
    "a film called so": "<title>Access Denied</title><p>A thriller of 1998. Reference #12.</p>",
}


@pytest.mark.parametrize("html", INNOCENT.values(), ids=INNOCENT)
@pytest.mark.parametrize("status", [200, 403])
def test_a_page_that_only_looks_a_little_like_a_wall_is_none(html: str, status: int) -> None:
    assert find_wall(status, {}, "text/html", html.encode()) is None


def test_a_large_successful_page_is_never_a_wall() -> None:
    wall = b"<title>Pardon Our Interruption</title>"
    at_most = wall.ljust(LARGEST_SUCCESSFUL_WALL)
    assert find_wall(200, {}, "text/html", at_most) == "Imperva"
    assert find_wall(200, {}, "text/html", at_most + b" ") is None
    assert find_wall(403, {}, "text/html", at_most + b" ") == "Imperva"


def test_a_successful_feed_is_not_looked_into() -> None:
    wall = b"<title>Pardon Our Interruption</title>"
    assert find_wall(200, {}, "application/json", wall) is None
    assert find_wall(200, {}, "application/rss+xml", wall) is None


def test_other_values_of_the_headers_are_no_wall() -> None:
    assert find_wall(200, {"cf-mitigated": "", "x-amzn-waf-action": "count"}, "", b"") is None


async def test_a_compressed_wall_is_recognised(serve: Serve, fetcher_for: FetcherFor) -> None:
    async def packed(request: web.BaseRequest) -> web.Response:
        wall = gzip.compress(b"<title>Pardon Our Interruption</title>")
        return web.Response(status=403, body=wall, headers={"Content-Encoding": "gzip"})

    origin = await serve(packed)
    with pytest.raises(BlockedPage):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)


async def test_a_wall_that_says_when_to_come_back_is_listened_to(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    async def wall(request: web.BaseRequest) -> web.Response:
        return web.Response(status=403, headers={"cf-mitigated": "challenge", "Retry-After": "7"})

    origin = await serve(wall)
    with pytest.raises(BlockedPage) as caught:
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("coding", ["gzip", "nonsense"])
async def test_a_refusal_whose_body_cannot_be_read_is_still_that_refusal(
    serve: Serve, fetcher_for: FetcherFor, coding: str
) -> None:
    async def broken(request: web.BaseRequest) -> web.Response:
        return web.Response(status=403, body=b"??", headers={"Content-Encoding": coding})

    origin = await serve(broken)
    with pytest.raises(ClientErrorStatus, match="403"):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)


async def test_a_refusal_whose_body_never_comes_is_still_that_refusal(
    serve: Serve, fetcher_for: FetcherFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stall(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=403, headers={"Content-Length": "10"})
        await response.prepare(request)
        return await asyncio.Future()

    monkeypatch.setattr("jobs.fetching.failures._WALL_PATIENCE", 0.05)
    origin = await serve(stall)
    with pytest.raises(ClientErrorStatus, match="403"):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)


@pytest.mark.parametrize("status", [403, 404])
async def test_an_endless_refusal_is_read_only_in_part_if_at_all(
    serve: Serve, fetcher_for: FetcherFor, status: int
) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    origin = await serve(endless)
    with pytest.raises(ScrapeError, match=str(status)):
        await (await fetcher_for(origin)).fetch(origin.url(), timeout=5)
    await asyncio.wait_for(origin.abandoned.wait(), 5)
