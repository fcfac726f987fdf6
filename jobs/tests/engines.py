"""A worker's view of the queue, for tests: claims and commits without a network."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from django.db import connection
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter
from uuid_utils.compat import uuid4

from jobs.engine.announce import Announcer
from jobs.engine.batcher import Content, Outcome, ResultBatcher
from jobs.engine.database import create_pool
from jobs.engine.health import Pulse
from jobs.engine.off_peak import next_off_peak
from jobs.engine.recovery import LOST
from jobs.engine.repository import ClaimingQueries, Limits
from jobs.engine.statements import ENTRYPOINT, RECOVER, RENEW

LEASE = timedelta(seconds=30)
NO_LIMITS = Limits(domain=0, domain_delay=0, client=0)


async def new_announcer():
    return Announcer()


class Engine:
    """One worker's view of the queue, without a network; its loop runs only inside a call."""

    def __init__(self, name, limits=NO_LIMITS):
        self.loop = asyncio.new_event_loop()
        self.pool = self.loop.run_until_complete(create_pool("asyncpg", min_size=1, max_size=1))
        # Nobody sends what is announced here: these tests look at the database.
        announcer = self.loop.run_until_complete(new_announcer())
        self.queries = ClaimingQueries(
            self.pool, worker=name, limits=limits, live=(), announcer=announcer, pulse=Pulse()
        )
        self.batcher = ResultBatcher(self.pool, announcer, window=0)
        self.writer = self.loop.create_task(self.batcher.run())
        self.id = QueueManagerId(uuid4())
        # What is drawn by lot is drawn alike in every run.
        self.execute("SELECT setseed(0.5)")

    def execute(self, statement, *arguments):
        return self.loop.run_until_complete(self.pool.fetch(statement, *arguments))

    def claim(self, most=10, limit=None):
        entrypoints = {QueueEntrypoint(ENTRYPOINT): EntrypointExecutionParameter(0)}
        jobs = self.loop.run_until_complete(
            self.queries.dequeue(most, entrypoints, self.id, limit, LEASE)
        )
        return [self.queries.take(job.id) for job in jobs]

    def renew(self, *claims):
        arguments = zip(*((c.engine_id, c.job_id, c.token) for c in claims), strict=True)
        return [row["id"] for row in self.execute(RENEW, *arguments)]

    def recover(self, lease=0.0, crash_limit=3):
        """Take back what has had no lease for so many seconds."""
        off_peak_at = next_off_peak(datetime.now(UTC))
        lost = self.execute(RECOVER, lease, crash_limit, LOST, [], off_peak_at)
        return [row["id"] for row in lost]

    def commit(self, *outcomes):
        async def all_of_them():
            return await asyncio.gather(*(self.batcher.commit(outcome) for outcome in outcomes))

        return self.loop.run_until_complete(all_of_them())

    def close(self):
        self.writer.cancel()
        self.loop.run_until_complete(self.pool.close())
        self.loop.close()


def success(claim, html="<p>", phases=None):
    return Outcome(
        claim,
        "succeeded",
        content=Content("http://example.com/", 200, datetime.now(UTC), {"html": html}),
        phases=phases,
    )


def wait_until_blocked():
    """Return as soon as somebody waits for a lock of somebody else's."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise TimeoutError("nobody waits for a lock")


def leases():
    with connection.cursor() as cursor:
        cursor.execute("SELECT status::text FROM pgqueuer")
        return [status for (status,) in cursor.fetchall()]
