"""One attempt of a job: fetch → extract → outcome → commit."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.engine.batcher import Content, Outcome, ResultBatcher
from jobs.engine.phases import Phases
from jobs.engine.turns import Turns
from jobs.errors import ScrapeError
from jobs.extraction.reading import Document, read_document
from jobs.extraction.suspicion import is_suspicious
from jobs.signals import attempt_ended

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from uuid import UUID

    from jobs.engine.domains import HostReports
    from jobs.engine.repository import Claim
    from jobs.engine.robots import RobotsGate
    from jobs.extraction.sandbox import Sandbox
    from jobs.fetching import Fetcher, Page

logger = logging.getLogger(__name__)

LONGEST_RETRY = 300.0
LONGEST_WAIT_ASKED = 3600.0


@dataclass(slots=True)
class Pipeline:
    """Runs claimed jobs and hands their outcomes to the batcher.

    `live` holds the claims that are running or wait for their commit, by engine id.
    """

    fetcher: Fetcher
    sandbox: Sandbox
    robots: RobotsGate
    hosts: HostReports
    batcher: ResultBatcher
    slots: asyncio.Semaphore
    turns: Turns = field(default_factory=Turns)
    live: dict[int, Claim] = field(default_factory=dict)
    # By engine id, as `live`: a worker that was paused may get a job again while its lost attempt
    # still runs.
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _scraping: set[int] = field(default_factory=set)
    _void: set[int] = field(default_factory=set)
    _releasing: bool = False

    async def run(self, claim: Claim) -> None:
        """Run one attempt to its durable end.

        It goes on when the caller is cancelled: the engine does that when it loses PostgreSQL,
        which is no reason to scrape again.
        """
        self.live[claim.engine_id] = claim
        task = asyncio.create_task(self._run(claim), name=f"job {claim.job_id}")
        self._tasks[claim.engine_id] = task
        task.add_done_callback(lambda _task: self._tasks.pop(claim.engine_id))
        await asyncio.shield(task)

    async def join(self) -> None:
        """Wait for every attempt that was started."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    def release(self) -> int:
        """Stop the scrapes that still run and give their attempts back; returns how many.

        Those that are yet to begin are given back as well.
        """
        self._releasing = True
        for engine_id in self._scraping:
            self._tasks[engine_id].cancel()
        return len(self._scraping)

    def abandon(self, claims: Iterable[Claim]) -> int:
        """Stop scraping for claims that do not hold any more; returns how many there were.

        Nothing is written: the jobs were cancelled, or another worker has them.
        """
        scraping = [one.engine_id for one in claims if one.engine_id in self._scraping]
        for engine_id in scraping:
            self._void.add(engine_id)
            self._tasks[engine_id].cancel()
        return len(scraping)

    def abandon_jobs(self, ended: Collection[UUID]) -> int:
        """Abandon every claim of jobs that have ended; returns how many were being scraped."""
        return self.abandon([one for one in self.live.values() if one.job_id in ended])

    async def _run(self, claim: Claim) -> None:
        try:
            released = Outcome(claim, "released")
            outcome = released if self._releasing else await self._outcome(claim)
            if outcome is not None and not await self.batcher.commit(outcome):
                outcome = None
            attempt_ended.send(Pipeline, claim=claim, outcome=outcome)
        finally:
            del self.live[claim.engine_id]

    async def _outcome(self, claim: Claim) -> Outcome | None:
        """How the attempt ended; None when that is no concern of ours any more."""
        # Not before: a task that is cancelled before it begins never comes to its `finally`.
        self._scraping.add(claim.engine_id)
        try:
            return await self._attempt(claim)
        except asyncio.CancelledError:
            if claim.engine_id in self._void:
                return None
            if not self._releasing:
                raise
            return Outcome(claim, "released")
        finally:
            self._scraping.discard(claim.engine_id)
            self._void.discard(claim.engine_id)

    async def _attempt(self, claim: Claim) -> Outcome:
        phases = Phases(claim)
        try:
            async with self.slots:
                phases.ended("slot")
                if not claim.ignores_robots:
                    await self.robots.check(claim.url, claim.host)
                    phases.ended("robots")
                page = await self.fetcher.fetch(claim.url, timeout=claim.timeout)
                phases.add(page.phases)
                content = await self._read(page, claim, phases)
                phases.ended("parse")
        except ScrapeError as error:
            phases.add(error.phases)
            self.hosts.failed(claim, error)
            return failure(claim, error, phases)
        except Exception:
            logger.exception("job %s: unexpected failure", claim.job_id)
            return failure(claim, ScrapeError(), phases)
        if claim.watched:
            self.hosts.succeeded(claim.host)
        return Outcome(claim, "succeeded", content=content, phases=phases)

    async def _read(self, page: Page, claim: Claim, phases: Phases) -> Content:
        """Extract what the job asked for; out of this process where that may be too much for it."""
        document = Document(
            page.body, page.content_type, page.charset, page.url, claim.extract, claim.formats
        )
        if is_suspicious(document, claim.crashes):
            formats = await self.sandbox.read(document, claim.timeout)
        else:
            await self.turns.wait()
            phases.ended("turn")
            formats = read_document(document)
        return Content(page.url, page.status, page.fetched_at, formats)


def failure(claim: Claim, error: ScrapeError, phases: Phases | None = None) -> Outcome:
    """Failed for good, or queued again after a backoff when that can help."""
    if error.permanent or claim.attempt >= claim.max_attempts:
        return Outcome(claim, "failed", error=error, phases=phases)
    delay = retry_delay(claim.attempt, error)
    return Outcome(claim, "queued", error=error, delay=delay, phases=phases)


def retry_delay(attempt: int, error: ScrapeError) -> float:
    """Seconds before the next attempt: exponential with jitter, or longer when the target asks."""
    backoff = min(error.backoff * 2.0 ** (attempt - 1), LONGEST_RETRY)
    jittered = backoff * random.uniform(0.5, 1.0)
    return max(jittered, min(error.retry_after or 0.0, LONGEST_WAIT_ASKED))
