"""From a page or an error to an outcome."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from uuid_utils.compat import uuid4

from jobs.engine.domains import HostReports
from jobs.engine.pipeline import Pipeline, failure, retry_delay
from jobs.engine.repository import Claim
from jobs.errors import (
    BlockedTarget,
    ConnectionFailed,
    Throttled,
)


def new_claim(attempt=1, max_attempts=3, timeout=30):
    return Claim(
        engine_id=1,
        job_id=uuid4(),
        client_id=uuid4(),
        batch_id=None,
        token=uuid4(),
        attempt=attempt,
        max_attempts=max_attempts,
        url="http://x.example/",
        host="x.example",
        extract=None,
        formats=("html",),
        timeout=timeout,
        crashes=0,
        ignores_robots=False,
        watched=False,
        queued_ms=0,
        queued_for="workers",
    )


def test_a_transient_error_is_tried_again():
    outcome = failure(new_claim(attempt=1), ConnectionFailed())
    assert outcome.state == "queued"
    assert outcome.delay > 0


def test_the_last_attempt_is_not_tried_again():
    assert failure(new_claim(attempt=3), ConnectionFailed()).state == "failed"


def test_a_permanent_error_is_not_tried_again():
    assert failure(new_claim(attempt=1), BlockedTarget()).state == "failed"


def test_a_target_that_asks_for_a_pause_gets_it():
    outcome = failure(new_claim(), Throttled(retry_after=120))
    assert outcome.delay >= 120


def test_a_target_cannot_ask_for_an_endless_pause():
    assert retry_delay(1, Throttled(retry_after=10**9)) <= 3600


@pytest.mark.parametrize("attempt", range(1, 20))
def test_pauses_grow_within_their_bounds(attempt):
    assert 1 <= retry_delay(attempt, ConnectionFailed()) <= 300
    assert retry_delay(attempt, ConnectionFailed()) <= 2 * 2.0 ** (attempt - 1)


def test_a_cause_that_takes_longer_to_go_away_is_given_longer():
    assert retry_delay(1, Throttled()) > retry_delay(1, ConnectionFailed())


class SlowSite:
    """Answers nobody before it is told to, and then refuses."""

    def __init__(self):
        self.asked = asyncio.Semaphore(0)
        self.answers = asyncio.Event()

    async def fetch(self, url, **_options):
        self.asked.release()
        await self.answers.wait()
        raise BlockedTarget


class Outcomes:
    """What would be committed."""

    def __init__(self):
        self.committed = []

    async def commit(self, outcome):
        self.committed.append((outcome.claim.engine_id, outcome.state))
        return True


def new_pipeline():
    slots = asyncio.Semaphore(10)
    parts: list[Any] = [SlowSite(), None, None, HostReports(None), Outcomes(), slots]
    return Pipeline(*parts)


def test_a_worker_that_has_a_job_again_abandons_only_the_attempt_that_it_lost():
    async def scenario():
        pipeline = new_pipeline()
        lost = replace(new_claim(), engine_id=1, ignores_robots=True)
        again = replace(lost, engine_id=2, token=uuid4(), attempt=2)
        runs = [asyncio.create_task(pipeline.run(claim)) for claim in (lost, again)]
        for _ in runs:
            await pipeline.fetcher.asked.acquire()
        assert pipeline.abandon([lost]) == 1
        await runs[0]
        pipeline.fetcher.answers.set()
        await runs[1]
        assert pipeline.live == {}
        return pipeline.batcher.committed

    assert asyncio.run(scenario()) == [(2, "failed")]


def test_the_end_of_a_job_abandons_every_attempt_of_it():
    async def scenario():
        pipeline = new_pipeline()
        claim = replace(new_claim(), ignores_robots=True)
        run = asyncio.create_task(pipeline.run(claim))
        await pipeline.fetcher.asked.acquire()
        assert pipeline.abandon_jobs({uuid4()}) == 0
        assert pipeline.abandon_jobs({claim.job_id}) == 1
        await run
        return pipeline.batcher.committed

    assert asyncio.run(scenario()) == []


def test_an_attempt_that_is_yet_to_begin_is_given_back_with_the_others():
    async def scenario():
        pipeline = new_pipeline()
        run = asyncio.create_task(pipeline.run(replace(new_claim(), ignores_robots=True)))
        await asyncio.sleep(0)
        assert pipeline.live
        pipeline.release()
        await run
        assert pipeline.live == {}
        return pipeline.batcher.committed

    assert asyncio.run(scenario()) == [(1, "released")]
