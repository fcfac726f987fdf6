"""The worker process: PgQueuer claims, the pipeline scrapes, the batcher commits."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cachelayer.layer import clients_by_loop
from jobs.engine.announce import Announcer
from jobs.engine.batcher import ResultBatcher
from jobs.engine.claim_loop import ClaimLoop
from jobs.engine.database import create_pool
from jobs.engine.domains import HostReports
from jobs.engine.duties import DutyThread
from jobs.engine.ends import abandon_ended
from jobs.engine.health import Pulse, serve_health
from jobs.engine.keeping import PAUSE, end, keep
from jobs.engine.lease import keep_leases
from jobs.engine.memory import tune_memory
from jobs.engine.pipeline import Pipeline
from jobs.engine.recovery import recover_lost
from jobs.engine.robots import RobotsGate
from jobs.extraction.sandbox import Sandbox
from jobs.fetching import AddressPolicy, Fetcher
from jobs.signals import worker_started, worker_starting, worker_stopped
from jobs.webhooks import Sender, deliver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from jobs.conf import JobSettings

logger = logging.getLogger(__name__)

# What the commit of given-back scrapes may take after the drain, in seconds.
LAST_COMMIT = 4
# The claim loop looks for jobs, or tries to connect, every few seconds.
LONGEST_SILENCE = 30


@dataclass(slots=True)
class Worker:
    """Scrapes until told to stop, `concurrency` jobs at once."""

    settings: JobSettings
    concurrency: int
    report: Callable[[str], None]
    name: str = f"{socket.gethostname()}/{os.getpid()}"
    pulse: Pulse = field(default_factory=Pulse)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then drain.

        Raises DatabaseUnreachable when PostgreSQL cannot be reached at the start.
        """
        worker_starting.send(Worker)
        tune_memory()
        pool = await create_pool("asyncpg", min_size=1, max_size=5)
        fetcher = Fetcher(
            policy=AddressPolicy.parse(self.settings.allowed_addresses),
            user_agent=self.settings.user_agent,
            max_connections=max(self.settings.max_connections, self.concurrency),
            max_bytes=self.settings.max_body_size,
        )
        try:
            async with fetcher, Sandbox() as sandbox, self._health():
                hosts = HostReports(pool)
                pipeline = Pipeline(
                    fetcher,
                    sandbox,
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
        duties = DutyThread(self.name)
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(keep(name, work, failed=self.pulse.failed))
                for name, work in self._background(pipeline, pool).items()
            ]
            # It ends by itself, when what is on its way has been told.
            tasks.create_task(self._deliver(pool, shutdown))
            duties.start()
            worker_started.send(Worker, worker=self, pipeline=pipeline)
            self.report(f"worker {self.name} ready, up to {self.concurrency} scrapes at once")
            claims = ClaimLoop(self.settings, pipeline, self.name, self.pulse, self.report)
            await claims.run(self.concurrency, shutdown)
            duties.stop()
            await pipeline.join()
            await end(background)
            await pipeline.batcher.announcer.flush()
            worker_stopped.send(Worker, worker=self)
            await clients_by_loop().close()

    def _background(
        self, pipeline: Pipeline, pool: asyncpg.Pool
    ) -> dict[str, Callable[[], Awaitable[None]]]:
        """What goes on beside scraping, until it is cancelled, by its name in the log."""
        lease, crash_limit = self.settings.lease, self.settings.crash_limit
        return {
            "commits": pipeline.batcher.run,
            "announcements": pipeline.batcher.announcer.run,
            "reports of hosts": pipeline.hosts.run,
            "ends of jobs": lambda: abandon_ended(pipeline),
            "leases": lambda: keep_leases(pool, pipeline, lease),
            "lost jobs": lambda: recover_lost(pool, pipeline, lease=lease, crash_limit=crash_limit),
        }

    async def _deliver(self, pool: asyncpg.Pool, shutdown: asyncio.Event) -> None:
        policy = AddressPolicy.parse(self.settings.allowed_addresses)
        sender = Sender(policy, user_agent=self.settings.user_agent)
        while not shutdown.is_set():
            try:
                await deliver(pool, sender, stopping=shutdown, patience=self.settings.drain_timeout)
            except Exception:
                self.pulse.failed()
                logger.exception("webhooks: failed, begin again")
                await asyncio.sleep(PAUSE)

    def _health(self) -> AbstractAsyncContextManager[None]:
        port = self.settings.worker_health_port
        return serve_health(
            self.pulse, host=self.settings.bind_host, port=port, limit=LONGEST_SILENCE
        )

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
