"""How soon the end of a job is seen through other processes: from its COMMIT to their answers.

Jobs of the practice site are submitted to a web server and scraped by a worker. Meanwhile two web
servers are asked for the job all the time, so that each has it in level 1 when it ends, which is at
a moment of its own for each job. The moment of the COMMIT is that of the notification which
PostgreSQL sends with it, as the measuring process hears it.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import defaultdict
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from itertools import chain
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
from aiohttp import ClientSession
from django.contrib.auth.models import User

from cachelayer.bulk import Bulk
from cachelayer.keys import tag_key
from cachelayer.layer import cache_layer
from jobs.caching import API_KEYS, API_KEYS_TAG, CHANGING, MEDIA_TYPE, STATUS, listing_tag
from jobs.engine.database import connect_arguments
from jobs.engine.statements import FINISHED_CHANNEL
from jobs.keys import generate_key, parse_key
from jobs.models import TERMINAL, Job
from jobs.services import create_client, install_key
from performance.benchmarks.practice_site import practice_site
from performance.benchmarks.report import Row, judged
from performance.benchmarks.throughput import worker
from performance.benchmarks.web_server import web_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobs.models import Client

WEB_SERVERS = 2
GOAL_MS = 100
# What level 1 allows, and as much again as with Valkey for the rest of the way.
GOAL_WITHOUT_VALKEY_MS = 1000 * CHANGING.ttl + GOAL_MS
# Nobody listens there: no message arrives, and level 2 does not answer.
NO_VALKEY = "redis://127.0.0.1:1/0"
# Each change without Valkey takes up to a second to be seen.
FEWER_WITHOUT_VALKEY = 3
CONCURRENCY = 4
LONGEST_SCRAPE = 0.3
POLL_SECONDS = 0.002
STALLED_AFTER = 30


def visibility_rows(changes: int) -> list[Row]:
    """The figures of `changes` changes with Valkey, and of a third as many without."""
    with practice_site() as site, worker(site, CONCURRENCY):
        told = delays(site, changes)
        untold = delays(site, changes // FEWER_WITHOUT_VALKEY or 1, REDIS_URL=NO_VALKEY)
    name = "a job's change, commit to seen by another process"
    unaided = "seen without Valkey"
    return [
        Row(f"{name}: changes × processes", len(told), "times"),
        Row(f"{name}: median", statistics.median(told), "ms"),
        judged(f"{name}: slowest", max(told), "ms", "≤", GOAL_MS),
        Row(f"{unaided}: changes × processes", len(untold), "times"),
        Row(f"{unaided}: median", statistics.median(untold), "ms"),
        judged(f"{unaided}: slowest", max(untold), "ms", "≤", GOAL_WITHOUT_VALKEY_MS),
    ]


def delays(site: str, jobs: int, **environment: str) -> list[float]:
    """Milliseconds from each job's end to each web server's answer with it."""
    owner, _ = User.objects.get_or_create(username="benchmark")
    client = create_client(owner=owner, name=uuid4().hex)
    key = generate_key()
    install_key(client=client, key=key)
    try:
        with ExitStack() as servers:
            bases = [servers.enter_context(web_server(**environment)) for _ in range(WEB_SERVERS)]
            return asyncio.run(watch(bases, key, site, jobs))
    finally:
        remove_cached(client, key)


async def watch(bases: list[str], key: str, site: str, jobs: int) -> list[float]:
    """Submit one job after the other and wait for its end; milliseconds, as `delays` gives them."""
    found: list[list[float]] = []
    headers = {"Authorization": f"Bearer {key}"}
    async with commits() as committed, AsyncExitStack() as stack:
        sessions = [ClientSession(base, headers=headers, raise_for_status=True) for base in bases]
        for session in sessions:
            await stack.enter_async_context(session)
        for _ in range(1 + jobs):
            page = f"{site}/catalogue/page-1?delay={random.uniform(0, LONGEST_SCRAPE):.3f}"
            job_id = await submitted(sessions[0], page)
            seen = await ends(sessions, job_id)
            moment = await committed.moment_of(job_id)
            found.append([1000 * (one - moment) for one in seen])
    # During the first job the servers were still starting.
    return list(chain.from_iterable(found[1:]))


async def submitted(session: ClientSession, url: str) -> str:
    """The id of a new job."""
    async with session.post("/api/v1/jobs", json={"url": url}) as response:
        return str((await response.json())["id"])


async def ends(sessions: list[ClientSession], job_id: str) -> list[float]:
    """When each server first said that the job has ended, in seconds of `time.perf_counter`.

    Raises RuntimeError when one of them does not.
    """
    try:
        async with asyncio.timeout(STALLED_AFTER):
            return await asyncio.gather(*(end(session, job_id) for session in sessions))
    except TimeoutError:
        raise RuntimeError(
            f"not every web server has shown the end of job {job_id} within {STALLED_AFTER} s"
        ) from None


async def end(session: ClientSession, job_id: str) -> float:
    """Ask one server until the job has ended."""
    while True:
        async with session.get(f"/api/v1/jobs/{job_id}") as response:
            document = await response.json()
        if document["status"] in TERMINAL:
            return time.perf_counter()
        await asyncio.sleep(POLL_SECONDS)


class Commits:
    """When PostgreSQL told of jobs' ends."""

    def __init__(self) -> None:
        """Nothing has been told; needs a running loop."""
        loop = asyncio.get_running_loop()
        self._moments: defaultdict[str, asyncio.Future[float]] = defaultdict(loop.create_future)

    def note(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        """A notification's callback."""
        now = time.perf_counter()
        for job_id in str(payload).split(","):
            if not self._moments[job_id].done():
                self._moments[job_id].set_result(now)

    async def moment_of(self, job_id: str) -> float:
        """In seconds of `time.perf_counter`."""
        return await self._moments[job_id]


@asynccontextmanager
async def commits() -> AsyncIterator[Commits]:
    """Listens for the ends of jobs."""
    listener = await asyncpg.connect(**connect_arguments())
    try:
        found = Commits()
        await listener.add_listener(FINISHED_CHANNEL, found.note)
        yield found
    finally:
        await listener.close()


def remove_cached(client: Client, key: str) -> None:
    """Remove what web servers and worker left in level 2 for this client."""
    parsed = parse_key(key)
    assert parsed is not None
    jobs = Job.objects.filter(client=client).values_list("id", flat=True)
    Bulk(STATUS).delete_many([(client.id, job_id, MEDIA_TYPE) for job_id in jobs])
    Bulk(API_KEYS).delete_many([(parsed.id, parsed.digest)], tags=(API_KEYS_TAG,))
    layer = cache_layer()
    tag = tag_key(layer.settings.prefix, listing_tag(client.id))
    layer.remote.call(*layer.remote.delete_commands([tag]))
