"""Asks a site's robots.txt before its pages, once a day for the whole fleet."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from jobs import caching
from jobs.fetching import fetch_robots, origin_of, parse_robots

if TYPE_CHECKING:
    from jobs.engine.domains import HostReports
    from jobs.fetching import Fetcher

origin_of_url = lru_cache(maxsize=10_000)(origin_of)


class RobotsGate:
    """Lets through what robots.txt allows, and passes its crawl delay on."""

    def __init__(self, fetcher: Fetcher, hosts: HostReports, *, user_agent: str) -> None:
        """`user_agent` is the one that pages are asked for with."""
        self._fetcher = fetcher
        self._hosts = hosts
        self._user_agent = user_agent

    async def check(self, url: str, host: str) -> None:
        """Raise RobotsDenied when the site asks not to fetch this URL.

        Raises RobotsUnreachable, or what fetching raises, when that cannot be found out.
        """
        origin = origin_of_url(url)

        async def load() -> str:
            text = await fetch_robots(self._fetcher, origin)
            delay = parse_robots(text, self._user_agent).crawl_delay
            self._hosts.asks_for_delay(host, delay or 0.0)
            return text

        text = await caching.ROBOTS.aget_or_load((origin,), load)
        parse_robots(text, self._user_agent).check(url)
