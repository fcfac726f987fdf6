"""What each recorder takes of the work that it watches, by itself, and what it costs to digest.

All runs in this process, so that nothing but the recorder is measured: its quickest round, less
what the same work takes without it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import process_time
from timeit import Timer
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4
from weakref import ref

import greenlet
from django.db import connection, connections
from django.http import HttpResponse
from django.test import RequestFactory

from cachelayer.layer import cache_layer
from jobs.engine.batcher import Content, Outcome
from jobs.engine.phases import Phases
from jobs.engine.repository import Claim
from performance.benchmarks.report import Report, Row
from performance.middleware import RequestsMiddleware
from performance.recorders import queries, queue
from performance.recorders.fetches import Fetches
from performance.recorders.leaks import checkouts, ended
from performance.recorders.pools import waits
from performance.recording.buffer import Buffer
from performance.recording.cpu import Switches
from performance.recording.process import buffer
from performance.recording.stream import Stream
from performance.recording.watch import Watch, lives, working
from performance.storage.digest import Digest

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator

HELP = "microseconds that each recorder takes of the work it watches, milliseconds of a digest"
ROUNDS = 7
# What four processes under load tell in a digest.
PROCESSES, TALLIES, ENTRIES = 4, 400, 5
STREAM = "benchmark-recorders"


class Pair(NamedTuple):
    """The same work as somebody watches it, and as nobody does."""

    name: str
    watched: Callable[[], object]
    plain: Callable[[], object]


def add_arguments(parser: ArgumentParser) -> None:
    """`--number`."""
    parser.add_argument("--number", type=int, default=5000, help="of each, a round (default 5000)")


def run(*, number: int, progress: Callable[[str], None]) -> Report:
    """Measure one after the other."""
    rows = []
    for name, watched, plain in pairs():
        rows.append(Row(name, quickest(watched, number) - quickest(plain, number), "µs"))
        progress(f"{name}: {rows[-1].value:.2f} µs")
    return Report("recorders", [*rows, *digests()])


def quickest(work: Callable[[], object], number: int) -> float:
    """Microseconds of one call."""
    found = min(Timer(work).repeat(ROUNDS, number)) / number * 1e6
    buffer.take("")
    return found


def pairs() -> Iterator[Pair]:
    """All that is on a hot path."""
    request, answer = RequestFactory().get("/api/v1/jobs"), HttpResponse()
    plain = lambda: view(request)  # noqa: E731  a pair of two calls reads best so

    def view(_request: object) -> HttpResponse:
        return answer

    answered = RequestsMiddleware(view)

    def watched() -> None:
        answered(request)
        ended()

    yield Pair("a request", watched, plain)
    yield query()
    yield checkout()
    yield switch()
    yield attempt()


def nothing(*_: Any) -> None:
    """What takes no time by itself."""


def query() -> Pair:
    """A statement, from Django's call to its result."""
    sql, parameters = "SELECT id FROM jobs_job WHERE id = %s", [uuid4()]
    with connection.cursor() as cursor:
        context = {"connection": connection, "cursor": cursor}
    call = (sql, parameters, False, context)
    return Pair("a query", lambda: queries.watched(nothing, *call), lambda: nothing(*call))


def checkout() -> Pair:
    """A connection that Django takes out of its pool in a request, and gives back."""
    pool: Any = object()
    wrapper = connections[connection.alias]
    life = ref(lives.life)

    def watched() -> None:
        working.set(Watch(life=life))
        waits.waited("default", 0.001)
        checkouts.lend(pool, pool, waits.prefix + "default", wrapper)
        checkouts.give_back(pool)

    def plain() -> None:
        working.set(Watch(life=life))

    return Pair("a checkout of a connection", watched, plain)


def switch() -> Pair:
    """A switch between greenlets, as who is charged hears of it."""
    switches, pair = Switches(), (greenlet.getcurrent(), greenlet.getcurrent().parent)
    switches.begin(Watch())
    greenlet.settrace(None)
    return Pair("a switch of greenlets", lambda: switches.switched("switch", pair), nothing)


def attempt() -> Pair:
    """The end of an attempt in a worker."""
    fetches, claim, outcome = Fetches(), *ended_attempt()

    def watched() -> None:
        queue.ended(claim, outcome)
        fetches.ended(claim, outcome)

    return Pair("the end of an attempt", watched, nothing)


def ended_attempt() -> tuple[Claim, Outcome]:
    """One that has succeeded."""
    claim = Claim(
        engine_id=1, job_id=uuid4(), client_id=uuid4(), batch_id=None, token=uuid4(), attempt=1,
        max_attempts=3, url="http://127.0.0.1/", host="127.0.0.1", extract=None, formats=("data",),
        timeout=30, crashes=0, ignores_robots=False, watched=False, queued_ms=3.0,
        queued_for="workers",
    )  # fmt: skip
    phases = Phases(claim)
    phases.add({"wait": 0.1, "first_byte": 20.0, "download": 2.0})
    phases.ended("parse")
    content = Content(claim.url, 200, datetime.now(UTC), {"data": "{}"})
    return claim, Outcome(claim, "succeeded", content=content, phases=phases)


def digests() -> list[Row]:
    """What the fleet's one writer takes for what all have told, the quickest of several."""
    stream = Stream(cache_layer().remote, STREAM)
    digest, times, own = Digest(stream), [], []
    for _ in range(ROUNDS):
        tell(stream)
        before = process_time()
        times.append(Timer(digest.run).timeit(1))
        own.append(process_time() - before)
    stream.clear()
    name = f"a digest of {PROCESSES * TALLIES:,} tallies"
    return [Row(name, min(times) * 1000, "ms"), Row(f"{name}, in Python", min(own) * 1000, "ms")]


def tell(stream: Stream) -> None:
    """Each process tells once, of as many names as fit."""
    for process in range(PROCESSES):
        told = Buffer()
        for number in range(TALLIES):
            for entry in range(ENTRIES):
                told.record(f"type {number % 8}", f"key number {number}", 1.5**entry)
        stream.append(told.take(f"benchmark/{process}"))
