"""API and worker, watched and unwatched, in turns; a part of `benchmark observer`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from django.utils import timezone

from jobs.models import Attempt, Job, State
from performance.benchmarks.api_load import send_at_once
from performance.benchmarks.practice_site import practice_site
from performance.benchmarks.tenants import api_key
from performance.benchmarks.throughput import clear, submit, worker
from performance.benchmarks.turns import Side, in_turns
from performance.benchmarks.web_server import web_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    Say = Callable[[str], None]

SCRAPES_AT_ONCE = 100
WATCHED, UNWATCHED = {"PERFORMANCE_ENABLED": "true"}, {"PERFORMANCE_ENABLED": "false"}


def api(rounds: int, requests: int, warm_up: float, progress: Say) -> tuple[Side, Side]:
    """Two web processes; a turn is as many requests as some connections send at once."""
    clear()
    headers = {"Authorization": f"Bearer {api_key()}", "Content-Type": "application/json"}
    with ExitStack() as stack:
        bases: dict[int, str] = {}
        for environment in (WATCHED, UNWATCHED):
            base, pid = stack.enter_context(web_process(DB_POOL_SIZE="4", **environment))
            bases[pid] = base
            send_at_once(base, headers, requests)
        time.sleep(warm_up)
        watched, unwatched = sides(*bases)

        def turn(side: Side) -> None:
            began = time.perf_counter()
            times = send_at_once(bases[side.pid], headers, requests)
            side.add(time.perf_counter() - began, len(times), times)

        for number in in_turns((watched, unwatched), rounds, turn):
            tell(progress, f"API, round {number + 1} of {rounds}", watched, unwatched)
    return watched, unwatched


def workers(
    rounds: int, jobs: int, seconds: float, warm_up: float, progress: Say
) -> tuple[Side, Side]:
    """Two workers, of which one at a time drains the queue, for so many seconds.

    Raises RuntimeError when `jobs`, which are submitted for each round, are too few.
    """
    clear()
    turns: dict[int, list[tuple[datetime, datetime]]] = {}
    with (
        practice_site() as site,
        worker(site, SCRAPES_AT_ONCE, **WATCHED) as one,
        worker(site, SCRAPES_AT_ONCE, **UNWATCHED) as other,
    ):
        time.sleep(warm_up)
        watched, unwatched = sides(one, other)

        def turn(side: Side) -> None:
            began = timezone.now()
            time.sleep(seconds)
            turns.setdefault(side.pid, []).append((began, timezone.now()))

        for number in in_turns((watched, unwatched), rounds, turn):
            if number:
                require_some_left()
            submit(site, jobs)
            progress(f"worker, round {number + 1} of {rounds}")
        require_some_left()
    for side in (watched, unwatched):
        count(side, turns[side.pid])
    return watched, unwatched


def sides(watched: int, unwatched: int) -> tuple[Side, Side]:
    """Of processes with these ids."""
    return Side(watched, is_watched=True), Side(unwatched, is_watched=False)


def tell(progress: Say, what: str, watched: Side, unwatched: Side) -> None:
    """How far it is, and what came of it so far."""
    if unwatched.done:
        what += f": {watched.rate:,.0f} watched, {unwatched.rate:,.0f} unwatched a second"
    progress(what)


def count(side: Side, turns: Iterable[tuple[datetime, datetime]]) -> None:
    """What a worker has done in its turns.

    An attempt that was begun in an earlier turn took as long as its worker was stopped.
    """
    mine = Attempt.objects.filter(worker__endswith=f"/{side.pid}")
    for began, ended in turns:
        ran = mine.filter(finished_at__gt=began, finished_at__lte=ended)
        moments = list(ran.values_list("started_at", "finished_at"))
        whole = [(to - since).total_seconds() for since, to in moments if since >= began]
        side.add((ended - began).total_seconds(), len(moments), whole)


def require_some_left() -> None:
    """Who finds no jobs is measured at doing nothing."""
    if not Job.objects.filter(state=State.QUEUED).exists():
        raise RuntimeError("The workers ran out of jobs. Give more for each round with --jobs.")
