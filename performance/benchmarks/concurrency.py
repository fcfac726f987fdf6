"""Whether one worker process keeps hundreds of slow scrapes going at once, and in how much memory.

Each page of the practice site takes DELAY seconds to answer. The ideal is as many waves as there
are times `--concurrency` in `--jobs`, each of DELAY seconds, with nothing before, between or after
them. The wall time runs from the first claim to the last commit: opening the connections is in it,
the start of the process is not.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.contrib.auth.models import User

from jobs.engine.queue import JobSpec
from jobs.services import create_client, submit_batch
from performance.benchmarks.pages import EXTRACT, listing_urls
from performance.benchmarks.practice_site import practice_site
from performance.benchmarks.report import Report, Row, judged
from performance.benchmarks.throughput import clear, drained, wait_until_done, worker

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator

    import psutil

HELP = "500 scrapes of 2 s each at once in one worker process: its memory, and wall time ÷ ideal"
DELAY = 2.0
GOAL_WALL = 1.15
GOAL_MEGABYTES = 300
BATCH = 500
LOOK_EVERY = 0.05


class PeakMemory:
    """The most memory that a process had resident, looked at all the time."""

    def __init__(self, process: psutil.Process) -> None:
        """`run` looks."""
        self._process = process
        self._stop = threading.Event()
        self.megabytes = 0.0

    def run(self) -> None:
        """Look until told to stop."""
        while not self._stop.wait(LOOK_EVERY):
            self.megabytes = max(self.megabytes, self._process.memory_info().rss / 1e6)

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()


@contextmanager
def worker_watched(site: str, concurrency: int) -> Iterator[PeakMemory]:
    """One worker process, and its memory."""
    # Not among the requirements of production, where the other benchmarks run without it.
    import psutil

    with worker(site, concurrency):
        (process,) = [
            child for child in psutil.Process().children() if "runworker" in child.cmdline()
        ]
        peak = PeakMemory(process)
        thread = threading.Thread(target=peak.run, daemon=True)
        thread.start()
        try:
            yield peak
        finally:
            peak.stop()
            thread.join()


def add_arguments(parser: ArgumentParser) -> None:
    """`--jobs`, `--concurrency`."""
    parser.add_argument("--jobs", type=int, default=2500, help="scrapes in all (default 2500)")
    parser.add_argument(
        "--concurrency", type=int, default=500, help="scrapes at once (default 500)"
    )


def run(*, jobs: int, concurrency: int, progress: Callable[[str], None]) -> Report:
    """Scrape and judge, in a scratch database."""
    clear()
    with practice_site() as site:
        submit(site, jobs)
        progress(f"{jobs} jobs submitted")
        with worker_watched(site, concurrency) as peak:
            wait_until_done()
    done = drained(jobs)
    ideal = DELAY * jobs / concurrency
    return Report(
        "concurrency",
        [
            Row("scrapes", jobs, "jobs"),
            Row("ideal wall time", ideal, "s"),
            Row("wall time, first claim to last commit", done.seconds, "s"),
            judged("wall time ÷ ideal", done.seconds / ideal, "×", "≤", GOAL_WALL),
            judged("the worker's memory, peak", peak.megabytes, "MB", "≤", GOAL_MEGABYTES),
            judged("jobs lost", done.lost, "jobs", "≤", 0),
            judged("jobs run twice", done.duplicates, "jobs", "≤", 0),
        ],
    )


def submit(site: str, jobs: int) -> None:
    """Queue `jobs` slow pages as batches of a benchmark client."""
    owner, _ = User.objects.get_or_create(username="benchmark")
    client = create_client(owner=owner, name="slow pages")
    specs = [
        JobSpec(
            url=f"{url}?delay={DELAY:g}",
            formats=("data",),
            extract=EXTRACT,
            max_attempts=1,
            timeout=30,
        )
        for url in listing_urls(site, jobs)
    ]
    for start in range(0, jobs, BATCH):
        submit_batch(client=client, specs=specs[start : start + BATCH], metadata={})
