"""What the fleet learns of hosts, and what it does about it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from jobs.engine import domains
from jobs.engine.domains import (
    FIRST_PENALTY,
    LONGEST_PENALTY,
    TROUBLES,
    HostReport,
    HostReports,
)
from jobs.errors import BlockedTarget, ConnectionFailed, FetchTimeout, Throttled
from jobs.models import Domain
from jobs.tests.engines import Engine, wait_until_blocked
from jobs.tests.test_pipeline import new_claim

pytestmark = pytest.mark.django_db(transaction=True)

HOST = "a.example"


@pytest.fixture
def tell(transactional_db):
    engine = Engine("worker-1")
    reports = HostReports(engine.pool)

    def tell(**report):
        engine.loop.run_until_complete(reports.write({HOST: HostReport(**report)}))
        return Domain.objects.filter(host=HOST).first()

    yield tell
    engine.close()


@pytest.fixture
def reports():
    engine = Engine("worker-1")

    async def make():
        return HostReports(engine.pool)

    yield engine.loop.run_until_complete(make())
    engine.close()


def let_it_be_tried(domain):
    Domain.objects.filter(host=domain.host).update(next_at=timezone.now() - timedelta(seconds=1))


def test_nothing_is_written_of_a_host_that_is_well(tell):
    assert tell(successes=3) is None


def test_troubles_are_counted_until_one_scrape_succeeds(tell):
    assert tell(troubles=2).failures == 2
    assert tell(troubles=3).failures == 5
    assert tell(successes=1, troubles=1).failures == 0


def test_enough_troubles_in_a_row_open_the_breaker(tell):
    assert tell(troubles=TROUBLES - 1).next_at <= timezone.now()
    domain = tell(troubles=1)
    assert domain.opened == 1
    assert domain.next_at > timezone.now() + timedelta(seconds=10)


def test_a_trial_that_fails_opens_the_breaker_for_longer(tell):
    let_it_be_tried(tell(troubles=TROUBLES))
    domain = tell(troubles=1)
    assert domain.opened == 2
    assert domain.next_at > timezone.now() + timedelta(seconds=25)


def test_scrapes_that_were_under_way_do_not_open_it_further(tell):
    tell(troubles=TROUBLES)
    assert tell(troubles=5).opened == 1


def test_a_trial_that_succeeds_closes_the_breaker(tell):
    let_it_be_tried(tell(troubles=TROUBLES))
    assert (tell(successes=1).opened, tell(successes=1).failures) == (0, 0)


def test_a_host_that_asks_for_less_gets_a_pause_that_doubles_and_halves(tell):
    assert tell(throttled=True).penalty == FIRST_PENALTY
    assert tell(throttled=True).penalty == 2 * FIRST_PENALTY
    assert tell(successes=1).penalty == FIRST_PENALTY
    for _ in range(10):
        tell(throttled=True)
    assert tell(throttled=True).penalty == LONGEST_PENALTY
    for _ in range(12):
        tell(successes=1)
    assert Domain.objects.get().penalty == 0


def test_a_host_gets_the_pause_that_it_asks_for(tell):
    domain = tell(throttled=True, retry_after=120.0)
    assert domain.next_at > timezone.now() + timedelta(seconds=110)


def test_a_crawl_delay_is_kept_and_taken_back(tell):
    assert tell(crawl_delay=5.0).crawl_delay == 5
    assert tell(troubles=1).crawl_delay == 5
    assert tell(crawl_delay=0.0).crawl_delay == 0


def test_a_crawl_delay_that_another_worker_writes_meanwhile_is_kept(tell):
    def tell_too():
        tell(troubles=1)
        connection.close()

    tell(troubles=1)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Domain.objects.update(crawl_delay=5)
            report = pool.submit(tell_too)
            wait_until_blocked()
        report.result()
    assert Domain.objects.get().crawl_delay == 5


def test_a_crawl_delay_is_told_again_when_postgresql_was_away(monkeypatch):
    monkeypatch.setattr(domains, "GATHERING", 0)
    written: asyncio.Queue[Any] = asyncio.Queue()

    class Recovering:
        """A pool whose first statement fails."""

        was_away = False

        async def fetch(self, _statement, hosts, *columns):
            written.put_nowait((hosts, columns[4]))
            if not self.was_away:
                self.was_away = True
                raise ConnectionResetError
            return []

    async def scenario():
        reports = HostReports(Recovering())
        reports.asks_for_delay(HOST, 5.0)
        running = asyncio.create_task(reports.run())
        told = [await written.get() for _ in range(2)]
        running.cancel()
        return told

    assert asyncio.run(scenario()) == [([HOST], [5.0])] * 2


def test_a_failure_that_is_no_concern_of_the_host_is_not_told(reports):
    reports.failed(new_claim(), BlockedTarget())
    assert not reports._reports


def test_a_timeout_of_a_job_in_a_hurry_is_no_trouble_of_the_host(reports):
    reports.failed(new_claim(timeout=1), FetchTimeout(phases={"connect": 1000.0}))
    assert not reports._reports


def test_a_timeout_that_went_by_waiting_for_us_is_no_trouble_of_the_host(reports):
    reports.failed(new_claim(), FetchTimeout(phases={"wait": 30_000.0}))
    assert not reports._reports


def test_what_the_host_is_to_blame_for_is_told(reports):
    reports.failed(new_claim(), ConnectionFailed())
    reports.failed(new_claim(), Throttled(retry_after=7))
    (report,) = reports._reports.values()
    assert (report.troubles, report.throttled, report.retry_after) == (2, True, 7)
