"""robots.txt: what a site asks robots to leave alone (RFC 9309)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from protego import Protego
from yarl import URL

from jobs.errors import (
    BlockedPage,
    ClientErrorStatus,
    FetchTimeout,
    InvalidTarget,
    RobotsDenied,
    RobotsUnreachable,
    ScrapeError,
    ServerErrorStatus,
    Throttled,
    TooManyRedirects,
    TransientClientError,
    UnreadableDocument,
)

if TYPE_CHECKING:
    from jobs.fetching.client import Fetcher

MAX_ROBOTS_BYTES = 500 * 1024  # RFC 9309, section 2.5: what every robot must read
ROBOTS_TIMEOUT = 10.0  # seconds
# Wildcards take up to a hundred times their text in memory, 43 MB for the largest file: few of the
# large ones are kept. An ordinary file has less than 5 kB.
LARGE = 16 * 1024  # characters
KEPT = 256
KEPT_LARGE = 8
MAX_CRAWL_DELAY = 60.0  # seconds; more is a mistake or a "no", which has a directive of its own

_TOKEN = re.compile(r"[\w.-]+")
_AGENT_LINE = re.compile(r"(?im)^[ \t]*user[- ]?agent[ \t]*:?[ \t]*(.*)$")


def product_token(user_agent: str) -> str:
    """Return the name that groups of rules are matched with, in lower case.

    It is the first token of the user agent, without its version: `scraper-site` of
    `scraper-site/0.1 (+https://example.com/bot)`.
    """
    token = _TOKEN.match(user_agent.strip())
    return token[0].lower() if token else ""


@dataclass(frozen=True, slots=True)
class RobotsRules:
    """The rules of one origin for one robot."""

    token: str
    parsed: Protego

    def allows(self, url: str) -> bool:
        """Whether the robot may fetch this URL of the origin."""
        return self.parsed.can_fetch(url, self.token)

    def check(self, url: str) -> None:
        """Raise RobotsDenied unless the robot may fetch this URL of the origin."""
        if not self.allows(url):
            raise RobotsDenied(
                f"{origin_of(url)}/robots.txt disallows this URL for {self.token!r}. "
                "Ask the site for permission or for an API."
            )

    @property
    def crawl_delay(self) -> float | None:
        """Seconds between two requests, at most `MAX_CRAWL_DELAY`; None if nothing is asked."""
        delay = self.parsed.crawl_delay(self.token)
        return None if delay is None else min(delay, MAX_CRAWL_DELAY)


def parse_robots(text: str, user_agent: str) -> RobotsRules:
    """Return the rules of a robots.txt for us; an empty text allows everything.

    `user_agent` is the setting, of which `product_token` counts.
    """
    return (_parse_large if len(text) > LARGE else _parse)(text, user_agent)


def _parse_anew(text: str, user_agent: str) -> RobotsRules:
    token = product_token(user_agent)

    def name_group(line: re.Match[str]) -> str:
        agent = line[1].strip()
        if not agent.startswith("*"):
            agent = token if product_token(agent) == token else "?"
        return f"User-agent: {agent}"

    # All other robots get one name. The parser would keep rules for each robot, agents times
    # rules of a hostile file, and take a group for "scrap" as one for "scraper-site".
    return RobotsRules(token, Protego.parse(_AGENT_LINE.sub(name_group, text)))


_parse = lru_cache(maxsize=KEPT)(_parse_anew)
_parse_large = lru_cache(maxsize=KEPT_LARGE)(_parse_anew)


def origin_of(url: str) -> str:
    """Return the scheme, host and port that one robots.txt is for, such as `https://a.example`."""
    return str(URL(url).origin())


async def fetch_robots(fetcher: Fetcher, origin: str) -> str:
    """Return the text of an origin's robots.txt, empty when it has none that counts.

    Any refusal but "later" (408, 425, 429) counts as none: RFC 9309, section 2.3.1. Raises
    RobotsUnreachable for "later", 5xx and silence; DNSFailure, ConnectionFailed and
    BlockedTarget as the page itself would.
    """
    try:
        page = await fetcher.fetch(
            f"{origin}/robots.txt", timeout=ROBOTS_TIMEOUT, first_bytes=MAX_ROBOTS_BYTES
        )
    except (Throttled, TransientClientError, ServerErrorStatus, FetchTimeout) as error:
        raise _unreachable(error, origin) from error
    except (
        BlockedPage,  # nearly always a 403; what the wall thinks of the page is yet to be seen
        ClientErrorStatus,
        InvalidTarget,  # of a redirect: the origin itself has been checked
        TooManyRedirects,
        UnreadableDocument,
    ):
        return ""
    return page.body.decode("utf-8-sig", "replace")


def _unreachable(error: ScrapeError, origin: str) -> RobotsUnreachable:
    return RobotsUnreachable(
        f"{origin}/robots.txt could not be read, so the page was not asked for: {error}",
        retry_after=error.retry_after,
        phases=error.phases,
    )
