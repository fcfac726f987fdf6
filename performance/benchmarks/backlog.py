"""Whether claiming stays as fast with millions of jobs in the table as with next to none.

Two databases on one server, in turns, so that a noisy machine disturbs both alike: one with the
backlog of one client, half of it ready and half for later, on top of finished jobs; one with little
more than the jobs that a round takes. Several claimers claim and commit as workers do, without the
scraping. Then, in both, what is due next is asked, and jobs are submitted, one at a time; and
beside the backlog another client submits single jobs.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import uvloop
from django.contrib.auth.models import User
from django.db import connection

from jobs.engine.queue import enqueue
from jobs.engine.statements import NEXT_DUE
from jobs.services import create_client
from performance.benchmarks.backlog_fairness import fairness_rows, new_job
from performance.benchmarks.backlog_rows import fill
from performance.benchmarks.claimers import BATCH, WARM_UP, drain
from performance.benchmarks.report import Report, Row, judged
from performance.benchmarks.second_database import connected_to, copy_of_database

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable
    from uuid import UUID

    from performance.benchmarks.claimers import Drained

HELP = "claims and commits per second beside millions of jobs ÷ in an empty database"
GOAL = 0.8
# Of what is timed one by one, in each round.
REPETITIONS = 50


@dataclass(slots=True)
class Measured:
    """One of the two databases: its drains, and milliseconds of what was timed one by one."""

    name: str
    drains: list[Drained] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    submissions: list[float] = field(default_factory=list)

    def measure(self, client: UUID, jobs: int, claimers: int) -> float:
        """One turn in the database that is connected; jobs per second."""
        self.drains.append(uvloop.run(drain(jobs, claimers)))
        self.due += [milliseconds(ask_what_is_due) for _ in range(REPETITIONS)]
        self.submissions += [
            milliseconds(lambda: enqueue([new_job()], client_id=client)) for _ in range(REPETITIONS)
        ]
        return self.drains[-1].rate

    def rows(self) -> list[Row]:
        """Its figures."""
        claims = [one for drained in self.drains for one in drained.claims]
        rate = statistics.median(one.rate for one in self.drains)
        return [
            Row(f"{self.name}: claimed and committed, median", rate, "jobs/s"),
            Row(f"{self.name}: one claim, median", statistics.median(claims), "ms"),
            Row(f"{self.name}: one claim, p95", statistics.quantiles(claims, n=20)[-1], "ms"),
            Row(f"{self.name}: what is due next, median", statistics.median(self.due), "ms"),
            Row(f"{self.name}: a submission, median", statistics.median(self.submissions), "ms"),
        ]


def add_arguments(parser: ArgumentParser) -> None:
    """`--queued`, `--finished`, `--jobs`, `--rounds`, `--claimers`."""
    for name, default, what in (
        ("--queued", 1_000_000, "queued jobs, half of them for later"),
        ("--finished", 10_000_000, "finished jobs"),
        ("--jobs", 5_000, "jobs claimed a round"),
        ("--rounds", 9, "turns of both"),
        ("--claimers", 4, "claimers at once"),
    ):
        parser.add_argument(name, type=int, default=default, help=f"{what} (default {default:,})")


def run(
    *,
    queued: int,
    finished: int,
    jobs: int,
    rounds: int,
    claimers: int,
    progress: Callable[[str], None],
) -> Report:
    """Measure and compare, in a scratch database and a copy of it."""
    owner, _ = User.objects.get_or_create(username="benchmark")
    many, few = (create_client(owner=owner, name=name).id for name in ("many jobs", "few jobs"))
    little, much = Measured("empty"), Measured("backlog")
    # What a round takes and what warms up, twice, so that no host runs short of jobs.
    enough = 2 * (jobs + claimers * WARM_UP * BATCH)
    with copy_of_database("empty") as empty:
        started = time.monotonic()
        fill(many, ready=queued // 2, later=queued - queued // 2, finished=finished,
             progress=progress)  # fmt: skip
        progress(f"the backlog is made, in {time.monotonic() - started:,.0f} s")
        for turn in range(1, rounds + 1):
            with connected_to(empty):
                fill(many, ready=enough, later=0, finished=0, progress=progress)
                alone = little.measure(many, jobs, claimers)
            beside = much.measure(many, jobs, claimers)
            progress(
                f"round {turn} of {rounds}: empty {alone:,.0f} jobs/s, "
                f"backlog {beside:,.0f} jobs/s, ratio {beside / alone:.2f}"
            )
        fairness = fairness_rows(few)
    ratios = [m.rate / n.rate for m, n in zip(much.drains, little.drains, strict=True)]
    return Report(
        "backlog",
        [
            Row("jobs in the table", finished + queued, "jobs"),
            *little.rows(),
            *much.rows(),
            judged("ratio, median of the rounds", statistics.median(ratios), "×", "≥", GOAL),
            Row("ratio, lowest", min(ratios), "×"),
            Row("ratio, highest", max(ratios), "×"),
            *fairness,
        ],
    )


def milliseconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - started)


def ask_what_is_due() -> None:
    """What a worker asks when it has found nothing to claim."""
    with connection.cursor() as cursor:
        cursor.execute(NEXT_DUE)
        cursor.fetchone()
