"""Workers without the scraping: they claim jobs and commit results as fast as PostgreSQL can."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter

from jobs.conf import job_settings
from jobs.engine.announce import Announcer
from jobs.engine.batcher import Content, Outcome, ResultBatcher
from jobs.engine.database import create_pool
from jobs.engine.health import Pulse
from jobs.engine.repository import ClaimingQueries, Limits
from jobs.engine.statements import ENTRYPOINT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from jobs.engine.repository import Claim

LEASE = timedelta(seconds=60)
BATCH = 50
# After so many executions PostgreSQL has settled its plans.
WARM_UP = 6


@dataclass(slots=True)
class Drained:
    """So many jobs were claimed and committed in `seconds`; milliseconds of each claim."""

    jobs: int
    seconds: float = 0.0
    claims: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds


class Claimer:
    """One worker's claims and commits, under the service's own limits."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """`run` writes; what it announces, nobody sends."""
        settings = job_settings()
        announcer = Announcer()
        self._batcher = ResultBatcher(pool, announcer)
        self._queries = ClaimingQueries(
            pool,
            worker="benchmark",
            limits=Limits(
                domain=settings.domain_concurrency,
                domain_delay=settings.domain_delay,
                client=settings.client_concurrency,
            ),
            live=(),
            announcer=announcer,
            pulse=Pulse(),
        )
        self._id = QueueManagerId(uuid4())
        self._entrypoints = {QueueEntrypoint(ENTRYPOINT): EntrypointExecutionParameter(0)}

    async def run(self) -> None:
        """Write batches until cancelled."""
        await self._batcher.run()

    async def claim(self, most: int = BATCH) -> list[Claim]:
        """Set jobs running."""
        leases = await self._queries.dequeue(most, self._entrypoints, self._id, None, LEASE)
        return [self._queries.take(lease.id) for lease in leases]

    async def succeed(self, claims: list[Claim]) -> None:
        """End jobs; raises RuntimeError when a claim did not hold."""
        held = await asyncio.gather(*(self._batcher.commit(success(claim)) for claim in claims))
        if not all(held):
            raise RuntimeError("somebody else has taken the benchmark's jobs")


def success(claim: Claim) -> Outcome:
    """What a small page gives."""
    content = Content(claim.url, 200, datetime.now(UTC), {"metadata": {"title": "page"}})
    return Outcome(claim, "succeeded", content=content)


@asynccontextmanager
async def claimer() -> AsyncIterator[Claimer]:
    """A claimer on Django's database that ends with the block."""
    pool = await create_pool("asyncpg", min_size=2, max_size=2)
    one = Claimer(pool)
    writing = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        pool.terminate()


async def drain(jobs: int, claimers: int) -> Drained:
    """Claim and commit so many jobs by so many claimers at once."""
    drained = Drained(jobs)
    async with AsyncExitStack() as stack:
        team = [await stack.enter_async_context(claimer()) for _ in range(claimers)]
        await asyncio.gather(*(work(one, Drained(WARM_UP * BATCH)) for one in team))
        started = time.perf_counter()
        shares = [Drained(share) for share in split(jobs, claimers)]
        await asyncio.gather(*(work(*each) for each in zip(team, shares, strict=True)))
        drained.seconds = time.perf_counter() - started
    drained.claims = [one for share in shares for one in share.claims]
    return drained


def split(jobs: int, claimers: int) -> list[int]:
    """Equal shares, as far as that goes."""
    return [jobs // claimers + (number < jobs % claimers) for number in range(claimers)]


async def work(one: Claimer, share: Drained) -> None:
    """Claim and commit a share; raises RuntimeError when there are too few jobs."""
    left = share.jobs
    while left > 0:
        started = time.perf_counter()
        claims = await one.claim(min(BATCH, left))
        share.claims.append(1000 * (time.perf_counter() - started))
        if not claims:
            raise RuntimeError(f"nothing to claim with {left} of {share.jobs} jobs to go")
        await one.succeed(claims)
        left -= len(claims)
