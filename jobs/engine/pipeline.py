"""One attempt of a job: fetch → extract → outcome → commit."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from jobs.engine.batcher import Content, Outcome, ResultBatcher
from jobs.errors import ScrapeError, UnreadableDocument
from jobs.extraction import ExtractionSpec, build_result, compile_spec, decode_html

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from jobs.engine.repository import Claim
    from jobs.extraction import Extractor
    from jobs.fetching import Fetcher, Page

logger = logging.getLogger(__name__)

FIRST_RETRY = 2.0
LONGEST_RETRY = 300.0
LONGEST_WAIT_ASKED = 3600.0
READABLE = ("text/", "application/xhtml", "application/xml", "application/json", "application/rss")


@dataclass(slots=True)
class Pipeline:
    """Runs claimed jobs and hands their outcomes to the batcher.

    `live` holds the claims that are running or wait for their commit, by engine id.
    """

    fetcher: Fetcher
    batcher: ResultBatcher
    slots: asyncio.Semaphore
    live: dict[int, Claim] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _scraping: dict[UUID, asyncio.Task[None]] = field(default_factory=dict)
    _void: set[UUID] = field(default_factory=set)
    _releasing: bool = False

    async def run(self, claim: Claim) -> None:
        """Run one attempt to its durable end.

        It goes on when the caller is cancelled: the engine does that when it loses PostgreSQL,
        which is no reason to scrape again.
        """
        self.live[claim.engine_id] = claim
        task = asyncio.create_task(self._run(claim))
        self._tasks.add(task)
        self._scraping[claim.job_id] = task
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def join(self) -> None:
        """Wait for every attempt that was started."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def release(self) -> int:
        """Stop the scrapes that still run and give their attempts back; returns how many."""
        self._releasing = True
        scraping = list(self._scraping.values())
        for task in scraping:
            task.cancel()
        return len(scraping)

    def abandon(self, jobs: Iterable[UUID]) -> int:
        """Stop scraping jobs that are not ours any more; returns how many there were.

        Nothing is written: they were cancelled, or another worker has them.
        """
        ours = [job_id for job_id in jobs if job_id in self._scraping]
        for job_id in ours:
            self._void.add(job_id)
            self._scraping[job_id].cancel()
        return len(ours)

    async def _run(self, claim: Claim) -> None:
        try:
            outcome = await self._outcome(claim)
            if outcome is not None:
                await self.batcher.commit(outcome)
        finally:
            del self.live[claim.engine_id]

    async def _outcome(self, claim: Claim) -> Outcome | None:
        """How the attempt ended; None when that is no concern of ours any more."""
        try:
            return await self._attempt(claim)
        except asyncio.CancelledError:
            if claim.job_id in self._void:
                return None
            if not self._releasing:
                raise
            return Outcome(claim, "released")
        finally:
            del self._scraping[claim.job_id]
            self._void.discard(claim.job_id)

    async def _attempt(self, claim: Claim) -> Outcome:
        try:
            async with self.slots:
                page = await self.fetcher.fetch(claim.url, timeout=claim.timeout)
                return Outcome(claim, "succeeded", content=read(page, claim))
        except ScrapeError as error:
            return failure(claim, error)
        except Exception:
            logger.exception("job %s: unexpected failure", claim.job_id)
            return failure(claim, ScrapeError())


def read(page: Page, claim: Claim) -> Content:
    """Extract what the job asked for.

    Raises UnreadableDocument when the page is neither text nor markup.
    """
    if page.content_type and not page.content_type.startswith(READABLE):
        raise UnreadableDocument(f"The document is {page.content_type}, which cannot be read.")
    formats = build_result(
        decode_html(page.body, page.charset),
        url=page.url,
        extractor=extractor_of(claim.extract) if claim.extract else None,
        formats=claim.formats,
    )
    return Content(page.url, page.status, page.fetched_at, formats)


@lru_cache(maxsize=1000)
def extractor_of(spec: str) -> Extractor:
    """The compiled form of a stored extraction spec."""
    return compile_spec(ExtractionSpec.model_validate_json(spec))


def failure(claim: Claim, error: ScrapeError) -> Outcome:
    """Failed for good, or queued again after a backoff when that can help."""
    if error.permanent or claim.attempt >= claim.max_attempts:
        return Outcome(claim, "failed", error=error)
    return Outcome(
        claim, "queued", error=error, delay=retry_delay(claim.attempt, error.retry_after)
    )


def retry_delay(attempt: int, retry_after: float | None = None) -> float:
    """Seconds before the next attempt: exponential with jitter, or longer when the target asks."""
    backoff = min(FIRST_RETRY * 2.0 ** (attempt - 1), LONGEST_RETRY)
    jittered = backoff * random.uniform(0.5, 1.0)
    return max(jittered, min(retry_after or 0.0, LONGEST_WAIT_ASKED))
