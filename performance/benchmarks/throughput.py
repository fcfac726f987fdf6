"""How much of a bare scraping loop's speed is left when every result is durable.

In turns, so that a noisy machine disturbs all alike: the bare loop over N pages, the same loop with
the service's own extractor, then one worker process draining N submitted jobs over the same pages.
The worker's time runs from its first claim to its last commit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, F, Max, Min

from cachelayer.bulk import Bulk
from jobs.caching import ROBOTS
from jobs.engine.queue import JobSpec
from jobs.models import Attempt, Client, Job, Result, State
from jobs.services import create_client, submit_batch
from performance.benchmarks.backlog_rows import TABLES
from performance.benchmarks.pages import EXTRACT, listing_urls
from performance.benchmarks.practice_site import practice_site
from performance.benchmarks.report import Report, Row, judged

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator

HELP = "the worker's durable scrapes per second ÷ a bare aiohttp+selectolax loop's"
GOAL = 0.85
STALLED_AFTER = 120


@dataclass(frozen=True, slots=True)
class Drained:
    """So many jobs have ended, the last commit `seconds` after the first claim.

    One in twenty attempts took longer than `p95` milliseconds, from its claim to its commit.
    """

    jobs: int
    seconds: float
    p95: float
    lost: int
    duplicates: int

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds


def add_arguments(parser: ArgumentParser) -> None:
    """`--jobs`, `--rounds`, `--concurrency`."""
    parser.add_argument("--jobs", type=int, default=5000, help="pages a round (default 5000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of both (default 3)")
    parser.add_argument(
        "--concurrency", type=int, default=100, help="scrapes at once (default 100)"
    )


def run(*, jobs: int, rounds: int, concurrency: int, progress: Callable[[str], None]) -> Report:
    """Measure and compare, in a scratch database."""
    bare: list[float] = []
    borrowed: list[float] = []
    drains: list[Drained] = []
    with practice_site() as site:
        for turn in range(1, rounds + 1):
            bare.append(bare_rate(site, jobs, concurrency))
            borrowed.append(bare_rate(site, jobs, concurrency, "--own-extractor"))
            drains.append(drain(site, jobs, concurrency))
            progress(
                f"round {turn} of {rounds}: bare loop {bare[-1]:,.0f} pages/s, "
                f"worker {drains[-1].rate:,.0f} jobs/s, ratio {drains[-1].rate / bare[-1]:.2f}"
            )
    ratios = [d.rate / b for d, b in zip(drains, bare, strict=True)]
    durability = [d.rate / b for d, b in zip(drains, borrowed, strict=True)]
    return Report(
        "throughput",
        [
            Row("bare loop, median", statistics.median(bare), "pages/s"),
            Row("bare loop with our extractor, median", statistics.median(borrowed), "pages/s"),
            Row("worker, median", statistics.median(d.rate for d in drains), "jobs/s"),
            judged("ratio, median of the rounds", statistics.median(ratios), "×", "≥", GOAL),
            Row("ratio, lowest", min(ratios), "×"),
            Row("ratio, highest", max(ratios), "×"),
            Row("ratio to the loop with our extractor", statistics.median(durability), "×"),
            judged("jobs lost", sum(d.lost for d in drains), "jobs", "≤", 0),
            judged("jobs run twice", sum(d.duplicates for d in drains), "jobs", "≤", 0),
        ],
    )


def bare_rate(site: str, pages: int, concurrency: int, *flags: str) -> float:
    """Pages per second of the bare loop, in a process of its own."""
    command = [sys.executable, "-m", "performance.benchmarks.bare_loop", site]
    command += ["--pages", str(pages), "--concurrency", str(concurrency), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def drain(site: str, jobs: int, concurrency: int, **environment: str) -> Drained:
    """Submit, start one worker, wait for the end, count; `environment` is the worker's."""
    clear()
    submit(site, jobs)
    with worker(site, concurrency, **environment):
        wait_until_done()
    return drained(jobs)


def drained(jobs: int) -> Drained:
    """What the attempts and results say of so many jobs; none of them is unfinished."""
    times = Attempt.objects.aggregate(first=Min("started_at"), last=Max("finished_at"))
    seconds = (times["last"] - times["first"]).total_seconds()
    took = Attempt.objects.values_list(F("finished_at") - F("started_at"), flat=True)
    p95 = statistics.quantiles(took, n=20)[-1].total_seconds() * 1000
    complete = Result.objects.filter(job__state=State.SUCCEEDED, data__39__isnull=False).count()
    repeated = Attempt.objects.values("job").annotate(runs=Count("*")).filter(runs__gt=1).count()
    return Drained(jobs=jobs, seconds=seconds, p95=p95, lost=jobs - complete, duplicates=repeated)


def clear() -> None:
    """Start from an empty queue."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLES}")


def submit(site: str, jobs: int) -> None:
    """Queue `jobs` listing pages as batches of a benchmark client."""
    owner, _ = User.objects.get_or_create(username="benchmark")
    client = Client.objects.filter(owner=owner).first() or create_client(
        owner=owner, name="benchmark"
    )
    specs = [
        JobSpec(url=url, formats=("data",), extract=EXTRACT, max_attempts=1, timeout=30)
        for url in listing_urls(site, jobs)
    ]
    for start in range(0, jobs, 1000):
        submit_batch(client=client, specs=specs[start : start + 1000], metadata={})
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE jobs_job, pgqueuer")


@contextmanager
def worker(site: str, concurrency: int, **environment: str) -> Iterator[int]:
    """The id of one worker process, allowed to scrape the practice site.

    It ends with the block, and what it cached of the site goes too.
    """
    environment = {
        **os.environ,
        **environment,
        "METRICS_PORT": "0",
        "PROCESS_ROLE": "worker",
        "FETCH_ALLOWED_ADDRESSES": urlsplit(site).netloc,
        # One site takes it all: counted, but never in the way.
        "DOMAIN_CONCURRENCY": str(10 * concurrency),
    }
    command = [sys.executable, "manage.py", "runworker", "--concurrency", str(concurrency)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)
        Bulk(ROBOTS).delete_many([(site,)])


def wait_until_done() -> None:
    """Return when no job is unfinished; raises RuntimeError when nothing moves any more."""
    unfinished, moved = -1, time.monotonic()
    while unfinished:
        time.sleep(0.25)
        now_unfinished = Job.objects.filter(state__in=[State.QUEUED, State.RUNNING]).count()
        if now_unfinished != unfinished:
            unfinished, moved = now_unfinished, time.monotonic()
        elif time.monotonic() - moved > STALLED_AFTER:
            raise RuntimeError(f"{unfinished} jobs have not moved for {STALLED_AFTER} s")
