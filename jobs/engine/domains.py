"""What scraping a host tells of it: kept for the whole fleet, so that all workers slow down.

A host that is well is not written about. One that asks for fewer requests gets a pause between
any two, doubled each time and halved with each second that it answers. One that is in trouble time
after time is left alone for a while by a circuit breaker, and then tried by one job at a time.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from jobs.engine import statements
from jobs.errors import FetchTimeout

if TYPE_CHECKING:
    from jobs.engine.repository import Claim
    from jobs.errors import ScrapeError

logger = logging.getLogger(__name__)

# Reports of so many seconds are written together.
GATHERING = 1.0
# Troubles in a row that open the breaker, and seconds that it stays open, doubled each time.
TROUBLES = 10
FIRST_PAUSE = 15.0
LONGEST_PAUSE = 600.0
# Seconds between two starts at a host that says that we are too fast.
FIRST_PENALTY = 1.0
LONGEST_PENALTY = 60.0
SHORTEST_FAIR_TIMEOUT = 5.0


@dataclass(slots=True)
class HostReport:
    """What became of the scrapes of a host since the last report; `retry_after` in seconds."""

    successes: int = 0
    troubles: int = 0
    throttled: bool = False
    retry_after: float = 0.0
    crawl_delay: float | None = None


class HostReports:
    """Collects what scrapes tell of their hosts, and writes it down."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Nothing is known yet."""
        self._pool = pool
        self._reports: dict[str, HostReport] = {}
        self._arrived = asyncio.Event()

    def succeeded(self, host: str) -> None:
        """A host that was in trouble has answered."""
        self._of(host).successes += 1

    def failed(self, claim: Claim, error: ScrapeError) -> None:
        """A scrape has failed; whether its host has to do with it, the error says.

        Running out of time is no trouble of the host when the job had little, or when all of it
        went by waiting for a connection of ours.
        """
        if not (error.is_host_trouble or error.is_throttling):
            return
        hasty = claim.timeout < SHORTEST_FAIR_TIMEOUT or error.phases.keys() <= {"wait"}
        if isinstance(error, FetchTimeout) and hasty:
            return
        report = self._of(claim.host)
        report.troubles += error.is_host_trouble
        report.throttled |= error.is_throttling
        report.retry_after = max(report.retry_after, min(error.retry_after or 0.0, LONGEST_PAUSE))

    def asks_for_delay(self, host: str, seconds: float) -> None:
        """A host's robots.txt asks for this pause between two requests, 0 for none."""
        self._of(host).crawl_delay = seconds

    def _of(self, host: str) -> HostReport:
        self._arrived.set()
        return self._reports.setdefault(host, HostReport())

    async def run(self) -> None:
        """Write reports until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHERING)
            self._arrived.clear()
            reports, self._reports = self._reports, {}
            try:
                await self.write(reports)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                # The next scrapes of these hosts will tell the same, but for what their robots.txt
                # asks: that is read once a day.
                logger.warning("reports of %d hosts are lost: %s", len(reports), error)
                self._tell_delays_again(reports)

    def _tell_delays_again(self, reports: dict[str, HostReport]) -> None:
        for host, report in reports.items():
            if report.crawl_delay is not None and self._of(host).crawl_delay is None:
                self.asks_for_delay(host, report.crawl_delay)

    async def write(self, reports: dict[str, HostReport]) -> None:
        """Store these reports; raises what asyncpg raises."""
        # In one order everywhere, so that two workers cannot wait for each other.
        hosts = sorted(reports)
        told = [reports[host] for host in hosts]
        opened = await self._pool.fetch(
            statements.REPORT_HOSTS,
            hosts,
            [one.successes for one in told],
            [one.troubles for one in told],
            [one.throttled for one in told],
            [one.retry_after for one in told],
            [one.crawl_delay for one in told],
            [TROUBLES, FIRST_PAUSE, LONGEST_PAUSE, FIRST_PENALTY, LONGEST_PENALTY],
        )
        for row in opened:
            logger.warning("host %s: left alone until %s", row["host"], row["next_at"])
