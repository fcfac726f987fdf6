"""API and worker, watched and unwatched, in turns; a part of `benchmark observer`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from django.utils import timezone

from jobs.models import Attempt, Job, State
from performance.benchmarks.api_load import send_at_once
from performance.benchmarks.practice_site import practice_site
from performance.benchmarks.tenants import api_key
from performance.benchmarks.throughput import clear, submit, worker
from performance.benchmarks.turns import Side, in_turns
from performance.benchmarks.web_server import web_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from django.db.models import QuerySet

    Say = Callable[[str], None]

SCRAPES_AT_ONCE = 100
# Seconds that a turn of a worker may take, and attempts that it must have, so that they have a p95.
LONGEST_TURN, FEWEST = 30.0, 2
# Rounds of the API in one of the workers: the more often turns change, the more alike is what other
# processes on the machine take of them.
MORE_OFTEN = 5
# Who is watched when: each is started first as often as second.
ORDERS = ((True, False), (False, True))


class Length(NamedTuple):
    """How long it is measured: `rounds` of turns after each start, and what a turn or round has.

    `warm_up` and `seconds` are seconds: before the first round, when web processes answer and
    workers wait for jobs; and of a turn of a worker.
    """

    starts: int
    rounds: int
    requests: int
    jobs: int
    seconds: float
    warm_up: float


def in_starts(
    once: Callable[[Length, int, Say], tuple[Side, Side]], length: Length, progress: Say
) -> tuple[Side, Side]:
    """Who is watched and who is not, all starts together."""
    watched, unwatched = once(length, 0, progress)
    for start in range(1, length.starts):
        progress(f"start {start + 1} of {length.starts}")
        found = once(length, start, progress)
        watched.join(found[0])
        unwatched.join(found[1])
    return watched, unwatched


def environments(start: int) -> Iterator[tuple[bool, dict[str, str]]]:
    """Of both in that start, in the order in which they are to be started.

    Both hash alike, in each start otherwise: where strings come to lie in dictionaries stays for as
    long as a process lives, and is nothing that is compared.
    """
    for is_watched in ORDERS[start % 2]:
        enabled = "true" if is_watched else "false"
        yield is_watched, {"PERFORMANCE_ENABLED": enabled, "PYTHONHASHSEED": str(start)}


def api(length: Length, start: int, progress: Say) -> tuple[Side, Side]:
    """Two web processes; a turn is as many requests as some connections send at once."""
    clear()
    headers = {"Authorization": f"Bearer {api_key()}", "Content-Type": "application/json"}
    with ExitStack() as stack:
        bases: dict[int, str] = {}
        pids: dict[bool, int] = {}
        for is_watched, environment in environments(start):
            base, pid = stack.enter_context(web_process(DB_POOL_SIZE="4", **environment))
            bases[pid], pids[is_watched] = base, pid
        warm(bases.values(), headers, length)
        watched, unwatched = sides(pids)

        def turn(side: Side) -> None:
            began = time.perf_counter()
            times = send_at_once(bases[side.pid], headers, length.requests)
            side.add(time.perf_counter() - began, len(times), times)

        rounds = MORE_OFTEN * length.rounds
        for number in in_turns((watched, unwatched), rounds, turn):
            if number % MORE_OFTEN == 0:
                tell(progress, f"API, round {number + 1} of {rounds}", watched, unwatched)
    return watched, unwatched


def warm(bases: Iterable[str], headers: dict[str, str], length: Length) -> None:
    """Have all of them answer as they will be asked to: how much is looked at settles meanwhile."""
    until = time.perf_counter() + length.warm_up
    while True:
        for base in bases:
            send_at_once(base, headers, length.requests)
        if time.perf_counter() >= until:
            return


def workers(length: Length, start: int, progress: Say) -> tuple[Side, Side]:
    """Two workers, of which one at a time drains the queue, for so many seconds.

    Raises RuntimeError when the jobs that are submitted for each round are too few.
    """
    clear()
    turns: dict[int, list[tuple[datetime, datetime]]] = {}
    with practice_site() as site, ExitStack() as stack:
        pids: dict[bool, int] = {}
        for is_watched, environment in environments(start):
            one = worker(site, SCRAPES_AT_ONCE, **environment)
            pids[is_watched] = stack.enter_context(one)
        time.sleep(length.warm_up)
        watched, unwatched = sides(pids)

        def turn(side: Side) -> None:
            began = timezone.now()
            time.sleep(length.seconds)
            wait_for_some(side, began)
            turns.setdefault(side.pid, []).append((began, timezone.now()))

        for number in in_turns((watched, unwatched), length.rounds, turn):
            if number:
                require_some_left()
            submit(site, length.jobs)
            progress(f"worker, round {number + 1} of {length.rounds}")
        require_some_left()
    for side in (watched, unwatched):
        count(side, turns[side.pid])
    return watched, unwatched


def sides(pids: dict[bool, int]) -> tuple[Side, Side]:
    """Who is watched and who is not, of processes with these ids."""
    return Side(pids[True], is_watched=True), Side(pids[False], is_watched=False)


def tell(progress: Say, what: str, watched: Side, unwatched: Side) -> None:
    """How far it is, and what came of it so far."""
    if unwatched.done:
        what += f": {watched.rate:,.0f} watched, {unwatched.rate:,.0f} unwatched a second"
    progress(what)


def attempts(side: Side) -> QuerySet[Attempt]:
    """Those of a worker."""
    return Attempt.objects.filter(worker__endswith=f"/{side.pid}")


def wait_for_some(side: Side, began: datetime) -> None:
    """Let a turn go on until attempts fit into it: on a busy machine a second may be too short.

    Raises RuntimeError when none do.
    """
    until = time.monotonic() + LONGEST_TURN
    while attempts(side).filter(started_at__gte=began)[:FEWEST].count() < FEWEST:
        if time.monotonic() > until:
            raise RuntimeError("A worker has done nothing in its turn: see its output.")
        time.sleep(0.05)


def count(side: Side, turns: Iterable[tuple[datetime, datetime]]) -> None:
    """What a worker has done in its turns.

    An attempt that was begun in an earlier turn took as long as its worker was stopped.
    """
    for began, ended in turns:
        ran = attempts(side).filter(finished_at__gt=began, finished_at__lte=ended)
        moments = list(ran.values_list("started_at", "finished_at"))
        whole = [(to - since).total_seconds() for since, to in moments if since >= began]
        side.add((ended - began).total_seconds(), len(moments), whole)


def require_some_left() -> None:
    """Who finds no jobs is measured at doing nothing."""
    if not Job.objects.filter(state=State.QUEUED).exists():
        raise RuntimeError("The workers ran out of jobs. Give more for each round with --jobs.")
