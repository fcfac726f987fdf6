"""PgQueuer's loop: claims while there is room, and starts anew when PostgreSQL was away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pgqueuer
from pgqueuer.qm import QueueManager

from jobs.engine.database import create_pool
from jobs.engine.repository import ClaimingQueries, Limits
from jobs.engine.statements import ENTRYPOINT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from jobs.conf import JobSettings
    from jobs.engine.health import Pulse
    from jobs.engine.pipeline import Pipeline

IDLE_POLL = timedelta(seconds=2)
RESTART_DELAY = timedelta(seconds=1)


class Manager(QueueManager):
    """PgQueuer's, which would ask whether it hears itself before it has begun to listen."""

    async def _run_periodic_health_check(self, interval: timedelta = timedelta(seconds=10)) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.shutdown.wait(), interval.total_seconds())
        await super()._run_periodic_health_check(interval)


@dataclass(slots=True)
class ClaimLoop:
    """Hands claimed jobs to the pipeline; `name` is written on them."""

    settings: JobSettings
    pipeline: Pipeline
    name: str
    pulse: Pulse
    report: Callable[[str], None]
    _was_lost: bool = False

    async def run(self, concurrency: int, shutdown: asyncio.Event) -> None:
        """Claim until `shutdown` is set.

        Half as many again as may run: they scrape while the others commit.
        """
        await pgqueuer.run(
            self._life,
            dequeue_timeout=IDLE_POLL,
            batch_size=concurrency // 2,
            max_concurrent_tasks=concurrency + concurrency // 2,
            heartbeat_timeout=timedelta(seconds=self.settings.lease),
            restart_on_failure=True,
            restart_delay=RESTART_DELAY,
            shutdown_on_listener_failure=True,
            shutdown=shutdown,
        )

    @asynccontextmanager
    async def _life(self) -> AsyncIterator[QueueManager]:
        """One life of the loop; PgQueuer asks for another when this one has failed."""
        self.pulse.beat()
        pool = await create_pool("claims", min_size=2, max_size=3, refused=self.pulse.beat)
        if self._was_lost:
            self._was_lost = False
            self.report("worker has PostgreSQL again and goes on")
        try:
            queries = ClaimingQueries(
                pool,
                worker=self.name,
                limits=Limits(
                    domain=self.settings.domain_concurrency,
                    domain_delay=self.settings.domain_delay,
                    client=self.settings.client_concurrency,
                ),
                live=self.pipeline.live,
                announcer=self.pipeline.batcher.announcer,
                pulse=self.pulse,
            )
            manager = Manager(queries)

            @manager.entrypoint(ENTRYPOINT)
            async def scrape(job: pgqueuer.Job) -> None:
                await self.pipeline.run(queries.take(job.id))

            yield manager
        except Exception as error:
            self._was_lost = True
            self.report(f"worker has lost PostgreSQL and tries again: {error}")
            raise
        finally:
            self.pulse.is_ready = False
            pool.terminate()
