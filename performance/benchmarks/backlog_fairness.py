"""What one client's backlog means to another client's single job."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvloop

from jobs.engine.queue import JobSpec, enqueue
from performance.benchmarks.claimers import BATCH, WARM_UP, Drained, claimer, work
from performance.benchmarks.report import Row, judged

if TYPE_CHECKING:
    from uuid import UUID

    from performance.benchmarks.claimers import Claimer

SINGLES = 20
GOAL_CLAIMS = 1
GOAL_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Waited:
    """What a job waited for from its acceptance: claims, its own among them, and seconds."""

    claims: int
    seconds: float


def fairness_rows(client: UUID) -> list[Row]:
    """The figures of SINGLES jobs of a client that has no others, one at a time."""
    waited = single_jobs(client)
    who = "another client's single job"
    return [
        judged(f"{who}: claims until its own", max(w.claims for w in waited), "claims", "≤",
               GOAL_CLAIMS),
        judged(f"{who}: accepted to claimed, slowest", max(w.seconds for w in waited), "s", "≤",
               GOAL_SECONDS),
    ]  # fmt: skip


def single_jobs(client: UUID) -> list[Waited]:
    """Submit and wait, one after the other, while one claimer works at the backlog."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        one = runner.run(stack.enter_async_context(claimer()))
        try:
            runner.run(work(one, Drained(WARM_UP * BATCH)))
            return [single_job(runner, one, client) for _ in range(SINGLES)]
        finally:
            runner.run(stack.aclose())


def single_job(runner: asyncio.Runner, one: Claimer, client: UUID) -> Waited:
    """Submit one job and claim until it comes."""
    spec = new_job()
    enqueue([spec], client_id=client)
    started = time.perf_counter()
    for number in itertools.count(1):
        claims = runner.run(one.claim())
        seconds = time.perf_counter() - started
        runner.run(one.succeed(claims))
        if any(claim.job_id == spec.id for claim in claims):
            return Waited(number, seconds)
    raise AssertionError("count() has no end")


def new_job() -> JobSpec:
    """A job of which nothing will be fetched."""
    return JobSpec("http://other.example/", formats=("metadata",), max_attempts=1, timeout=30)
