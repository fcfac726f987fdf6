from __future__ import annotations

import asyncio
import socket
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from jobs.errors import (
    BlockedTarget,
    ConnectionFailed,
    DNSFailure,
    RobotsDenied,
    RobotsUnreachable,
)
from jobs.fetching import AddressPolicy, Fetcher, fetch_robots, origin_of, parse_robots, robots
from jobs.fetching.robots import LARGE, MAX_ROBOTS_BYTES, product_token
from jobs.fetching.tests.conftest import FakeResolver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobs.fetching.tests.conftest import Origin

    Serve = Callable[..., Awaitable[Origin]]
    FetcherFor = Callable[..., Awaitable[Fetcher]]

AGENT = "scraper-site/0.1 (+https://scraper.example/bot)"
SHOP = "https://shop.example"


def allows(text: str, path: str, agent: str = AGENT) -> bool:
    return parse_robots(text, agent).allows(SHOP + path)


async def test_the_practice_sites_catalogue_is_allowed_without_delay_and_its_private_part_is_not(
    practice_site: str, practice_fetcher: Fetcher
) -> None:
    rules = parse_robots(await fetch_robots(practice_fetcher, practice_site), AGENT)
    assert rules.allows(f"{practice_site}/catalogue/page-1")
    assert not rules.allows(f"{practice_site}/private/prices")
    assert rules.crawl_delay is None


async def test_the_practice_site_asks_slowbot_for_five_seconds(
    practice_site: str, practice_fetcher: Fetcher
) -> None:
    text = await fetch_robots(practice_fetcher, practice_site)
    assert parse_robots(text, "slowbot/2.0").crawl_delay == 5


@pytest.mark.parametrize(
    ("agent", "token"),
    [
        (AGENT, "scraper-site"),
        ("Scraper-Site", "scraper-site"),
        ("tests/1", "tests"),
        ("bot2000 (contact@example.com)", "bot2000"),
        ("(nameless)", ""),
    ],
)
def test_the_product_token_is_the_first_name_of_the_user_agent(agent: str, token: str) -> None:
    assert product_token(agent) == token


def test_a_group_of_our_own_replaces_the_one_for_all() -> None:
    text = "User-agent: *\nDisallow: /\n\nUser-agent: Scraper-Site\nDisallow: /private/\n"
    assert allows(text, "/catalogue")
    assert not allows(text, "/private/prices")


@pytest.mark.parametrize("other", ["scrap", "scraper", "scraper-site-news", "my-scraper-site"])
def test_a_group_for_a_robot_with_a_similar_name_is_not_ours(other: str) -> None:
    assert allows(f"User-agent: {other}\nDisallow: /\n", "/catalogue")


def test_a_group_for_many_robots_is_ours_too() -> None:
    text = "User-agent: a\nUser-agent: scraper-site/2\nuser-agent : b\nDisallow: /private/\n"
    assert not allows(text, "/private/prices")


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("Disallow: /a", "/abc"),
        ("Disallow: /*.pdf$", "/x/y.pdf"),
        ("Disallow: /a/*/z", "/a/b/c/z?q=1"),
        ("Disallow: /*?sort=", "/list?sort=price"),
        ("Disallow: /%7Ejoe", "/~joe/x"),
        ("Disallow: /\nAllow: /", "/"),
    ],
)
def test_the_longest_matching_rule_decides_and_allow_wins_a_tie(rule: str, path: str) -> None:
    assert allows(f"User-agent: *\n{rule}\n", path) is ("Allow" in rule)


@pytest.mark.parametrize("text", ["", "\0\0\0", "<html>not found</html>", "Disallow: /\n", "x: y"])
def test_a_text_without_rules_for_us_allows_everything(text: str) -> None:
    assert allows(text, "/anything")


def test_a_denial_names_the_file_and_the_robot_and_what_to_do() -> None:
    rules = parse_robots("User-agent: *\nDisallow: /\n", AGENT)
    with pytest.raises(RobotsDenied, match=r"https://shop\.example/robots\.txt.*'scraper-site'"):
        rules.check(f"{SHOP}/catalogue")


@pytest.mark.parametrize(
    ("asked", "delay"),
    [("2.5", 2.5), ("0", 0), ("86400", 60), ("-1", None), ("nan", None), ("soon", None)],
)
def test_a_crawl_delay_is_in_seconds_and_at_most_a_minute(asked: str, delay: float | None) -> None:
    assert parse_robots(f"User-agent: *\nCrawl-delay: {asked}\n", AGENT).crawl_delay == delay


def test_a_file_of_many_robots_and_many_rules_takes_no_more_memory_than_their_sum() -> None:
    agents = "".join(f"User-agent: robot{n}\n" for n in range(3000))
    rules = "".join(f"Disallow: /{n}\n" for n in range(3000))
    tracemalloc.start()
    parsed = parse_robots(f"{agents}{rules}User-agent: *\nDisallow: /private/", AGENT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000  # one by the other, they would take a hundred times as much
    assert not parsed.allows(f"{SHOP}/private/prices")


def test_a_text_is_parsed_once() -> None:
    assert parse_robots("User-agent: *", AGENT) is parse_robots("User-agent: *", AGENT)


def test_of_large_files_few_are_kept() -> None:
    small, large = ([f"# {n} {'x' * size}" for n in range(20)] for size in (10, LARGE))
    first = {text: parse_robots(text, AGENT) for text in (*small, *large)}
    assert sum(parse_robots(text, AGENT) is first[text] for text in small) == 20
    assert sum(parse_robots(text, AGENT) is first[text] for text in reversed(large)) < 10


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://shop.example/a/b?c=d", "https://shop.example"),
        ("http://shop.example:8080/", "http://shop.example:8080"),
        ("http://[2001:db8::1]:80/", "http://[2001:db8::1]"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


async def test_a_redirected_robots_txt_counts(serve: Serve, fetcher_for: FetcherFor) -> None:
    async def moved(request: web.BaseRequest) -> web.Response:
        if request.path == "/robots.txt":
            return web.Response(status=301, headers={"Location": "/elsewhere"})
        return web.Response(text="\ufeffUser-agent: *\nDisallow: /")

    origin = await serve(moved)
    text = await fetch_robots(await fetcher_for(origin), origin.url(""))
    assert not parse_robots(text, AGENT).allows(origin.url("/page"))


async def test_robots_txt_is_read_up_to_500_kibibytes(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    async def long(request: web.BaseRequest) -> web.Response:
        return web.Response(text="User-agent: *\nDisallow: /private/\n" + "#" * 1_000_000)

    origin = await serve(long)
    text = await fetch_robots(await fetcher_for(origin), origin.url(""))
    assert len(text) == MAX_ROBOTS_BYTES
    assert not allows(text, "/private/prices")


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 451])
async def test_no_robots_txt_allows_everything(
    serve: Serve, fetcher_for: FetcherFor, status: int
) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status)

    origin = await serve(refuse)
    assert await fetch_robots(await fetcher_for(origin), origin.url("")) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Location": "/robots.txt"},
        {"Location": "ftp://x.example/robots.txt"},
    ],
    ids=["a loop", "no http"],
)
async def test_a_redirect_that_leads_nowhere_is_no_robots_txt(
    serve: Serve, fetcher_for: FetcherFor, headers: dict[str, str]
) -> None:
    async def redirect(request: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers=headers)

    origin = await serve(redirect)
    assert await fetch_robots(await fetcher_for(origin), origin.url("")) == ""


async def test_a_bot_wall_is_no_robots_txt(practice_site: str, practice_fetcher: Fetcher) -> None:
    assert await fetch_robots(practice_fetcher, f"{practice_site}/wall/cloudflare") == ""


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_server_in_trouble_makes_robots_txt_unreachable(
    serve: Serve, fetcher_for: FetcherFor, status: int
) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "7"})

    origin = await serve(refuse)
    with pytest.raises(RobotsUnreachable, match=str(status)) as caught:
        await fetch_robots(await fetcher_for(origin), origin.url(""))
    assert caught.value.retry_after == 7
    assert "first_byte" in caught.value.phases


async def test_silence_makes_robots_txt_unreachable(
    serve: Serve, fetcher_for: FetcherFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        return await asyncio.Future()

    monkeypatch.setattr(robots, "ROBOTS_TIMEOUT", 0.1)
    origin = await serve(hang)
    with pytest.raises(RobotsUnreachable, match="did not answer"):
        await fetch_robots(await fetcher_for(origin), origin.url(""))


@pytest.mark.parametrize(
    ("resolver", "error"),
    [
        (FakeResolver(error=socket.gaierror()), DNSFailure),
        (FakeResolver("10.0.0.1"), BlockedTarget),
    ],
)
async def test_a_host_that_cannot_be_reached_fails_as_the_page_itself_would(
    resolver: FakeResolver, error: type[Exception]
) -> None:
    async with Fetcher(AddressPolicy(), user_agent="x", resolver=resolver) as fetcher:
        with pytest.raises(error):
            await fetch_robots(fetcher, "http://shop.test")


async def test_a_refused_connection_says_so(unused_tcp_port: int) -> None:
    policy = AddressPolicy.parse([f"127.0.0.1:{unused_tcp_port}"])
    async with Fetcher(policy, user_agent="x") as fetcher:
        with pytest.raises(ConnectionFailed):
            await fetch_robots(fetcher, f"http://127.0.0.1:{unused_tcp_port}")


async def test_a_robots_txt_that_redirects_inwards_is_not_followed(
    serve: Serve, fetcher_for: FetcherFor
) -> None:
    inner = await serve(lambda request: None)

    async def inwards(request: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers={"Location": inner.url("/robots.txt")})

    origin = await serve(inwards)
    with pytest.raises(BlockedTarget):
        await fetch_robots(await fetcher_for(origin), origin.url(""))
    assert inner.requests == []
