"""The worker process: PgQueuer claims, the pipeline scrapes, the batcher commits."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import pgqueuer

from cachelayer.layer import clients_by_loop
from jobs.engine.announce import Announcer
from jobs.engine.batcher import ResultBatcher
from jobs.engine.database import create_pool
from jobs.engine.domains import HostReports
from jobs.engine.ends import abandon_ended
from jobs.engine.health import Pulse, serve_health
from jobs.engine.lease import keep_leases
from jobs.engine.memory import tune_memory
from jobs.engine.pipeline import Pipeline
from jobs.engine.recovery import recover_lost
from jobs.engine.repository import ClaimingQueries, Limits
from jobs.engine.robots import RobotsGate
from jobs.engine.statements import ENTRYPOINT
from jobs.fetching import AddressPolicy, Fetcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from jobs.conf import JobSettings

logger = logging.getLogger(__name__)

IDLE_POLL = timedelta(seconds=2)
RESTART_DELAY = timedelta(seconds=1)
# What the commit of given-back scrapes may take after the drain, in seconds.
LAST_COMMIT = 4
# The engine looks for jobs at least every IDLE_POLL, and tries to connect as often.
LONGEST_SILENCE = 30


@dataclass(slots=True)
class Worker:
    """Scrapes until told to stop, `concurrency` jobs at once."""

    settings: JobSettings
    concurrency: int
    report: Callable[[str], None]
    name: str = f"{socket.gethostname()}/{os.getpid()}"
    pulse: Pulse = field(default_factory=Pulse)
    _was_lost: bool = False

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then drain.

        Raises DatabaseUnreachable when PostgreSQL cannot be reached at the start.
        """
        tune_memory()
        pool = await create_pool(min_size=1, max_size=4)
        fetcher = Fetcher(
            policy=AddressPolicy.parse(self.settings.allowed_addresses),
            user_agent=self.settings.user_agent,
            max_connections=max(self.settings.max_connections, self.concurrency),
            max_bytes=self.settings.max_body_size,
        )
        try:
            async with fetcher, self._health():
                hosts = HostReports(pool)
                pipeline = Pipeline(
                    fetcher,
                    RobotsGate(fetcher, hosts, user_agent=self.settings.user_agent),
                    hosts,
                    ResultBatcher(pool, Announcer()),
                    asyncio.Semaphore(self.concurrency),
                )
                await self._serve(pipeline, pool)
        finally:
            pool.terminate()
        self.report("worker stopped")

    async def _serve(self, pipeline: Pipeline, pool: asyncpg.Pool) -> None:
        shutdown = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop, shutdown, pipeline)
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(pipeline.batcher.run()),
                tasks.create_task(pipeline.batcher.announcer.run()),
                tasks.create_task(pipeline.hosts.run()),
                tasks.create_task(abandon_ended(pool, pipeline)),
                tasks.create_task(keep_leases(pool, pipeline, self.settings.lease)),
                tasks.create_task(
                    recover_lost(
                        pool,
                        pipeline.batcher.announcer,
                        lease=self.settings.lease,
                        crash_limit=self.settings.crash_limit,
                    )
                ),
            ]
            self.report(f"worker {self.name} ready, up to {self.concurrency} scrapes at once")
            # Half as many again are claimed as may run: they scrape while the others commit.
            await pgqueuer.run(
                lambda: self._engine(pipeline),
                dequeue_timeout=IDLE_POLL,
                batch_size=self.concurrency // 2,
                max_concurrent_tasks=self.concurrency + self.concurrency // 2,
                heartbeat_timeout=timedelta(seconds=self.settings.lease),
                restart_on_failure=True,
                restart_delay=RESTART_DELAY,
                shutdown_on_listener_failure=True,
                shutdown=shutdown,
            )
            await pipeline.join()
            for task in background:
                task.cancel()
            await pipeline.batcher.announcer.flush()
            await clients_by_loop().close()

    def _health(self) -> AbstractAsyncContextManager[None]:
        port = self.settings.worker_health_port
        return serve_health(
            self.pulse, host=self.settings.bind_host, port=port, limit=LONGEST_SILENCE
        )

    @asynccontextmanager
    async def _engine(self, pipeline: Pipeline) -> AsyncIterator[pgqueuer.PgQueuer]:
        """One life of the engine; the supervisor asks for another when PostgreSQL was away."""
        self.pulse.beat()
        pool = await create_pool(min_size=2, max_size=3)
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
                live=pipeline.live,
                announcer=pipeline.batcher.announcer,
                pulse=self.pulse,
            )
            engine = pgqueuer.PgQueuer(queries.driver, queries=queries)

            @engine.entrypoint(ENTRYPOINT)
            async def scrape(job: pgqueuer.Job) -> None:
                await pipeline.run(queries.take(job.id))

            yield engine
        except Exception as error:
            self._was_lost = True
            self.report(f"worker has lost PostgreSQL and tries again: {error}")
            raise
        finally:
            self.pulse.is_ready = False
            pool.terminate()

    def _stop(self, shutdown: asyncio.Event, pipeline: Pipeline) -> None:
        """Claim nothing more; what has not finished in time is given back."""
        if shutdown.is_set():
            return
        shutdown.set()
        self.report(f"worker draining, at most {self.settings.drain_timeout:.0f} s")
        loop = asyncio.get_running_loop()
        loop.call_later(self.settings.drain_timeout, self._give_back, pipeline)
        loop.call_later(self.settings.drain_timeout + LAST_COMMIT, self._leave, pipeline)

    def _give_back(self, pipeline: Pipeline) -> None:
        if released := pipeline.release():
            self.report(f"worker gave back {released} unfinished scrapes")

    def _leave(self, pipeline: Pipeline) -> None:
        """End the process although outcomes are not stored: PostgreSQL does not answer.

        Nothing is lost, for the jobs' leases run out. An orderly end would wait for PostgreSQL.
        """
        unstored = pipeline.batcher.pending
        self.report(f"worker leaves {unstored} outcomes unstored; those jobs will run again")
        os._exit(1)
