"""What it costs to be watched, and how fast the console shows seven days of a busy fleet.

In turns, so that a noisy machine disturbs both alike: the API (jobs submitted and asked for, by
several connections at once) and one worker draining jobs, with all recorders on and with
PERFORMANCE_ENABLED=false. Then the overview and each card over the data of `busy_fleet`.
"""

from __future__ import annotations

import http.client
import statistics
import threading
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse

from performance.benchmarks import busy_fleet, busy_states
from performance.benchmarks.practice_site import practice_site
from performance.benchmarks.report import Report, Row, judged
from performance.benchmarks.tenants import api_key
from performance.benchmarks.throughput import Drained, clear, drain
from performance.benchmarks.web_server import web_server
from performance.console.pages import CARDS
from performance.console.rendering import rendered
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

    from performance.cards.shapes import Card

HELP = "throughput and p95 of API and worker, watched ÷ unwatched; how fast the console is"
GOAL = 0.95
# Milliseconds of server time.
OVERVIEW, CARD = 200, 50
CONNECTIONS = 4
WARM_UP = 100
JOB = orjson.dumps({"url": "http://127.0.0.1:9/page"})


@dataclass(frozen=True, slots=True)
class Load:
    """What the API did: requests a second, and their 95th percentile in milliseconds."""

    rate: float
    p95: float


def add_arguments(parser: ArgumentParser) -> None:
    """`--rounds`, `--requests`, `--jobs`, `--keys`."""
    parser.add_argument("--rounds", type=int, default=5, help="turns of both (default 5)")
    parser.add_argument(
        "--requests", type=int, default=4000, help="of the API, a round (default 4000)"
    )
    parser.add_argument("--jobs", type=int, default=6000, help="a round (default 6000)")
    parser.add_argument("--keys", type=int, help="of each type in the busy fleet (default: all)")


def run(
    *, rounds: int, requests: int, jobs: int, keys: int | None, progress: Callable[[str], None]
) -> Report:
    """Measure and judge, in a scratch database."""
    rows = watched_rows(rounds, requests, jobs, progress)
    progress("seven days of a busy fleet …")
    return Report("observer", [*rows, *console_rows(rounds, keys)])


def watched_rows(
    rounds: int, requests: int, jobs: int, progress: Callable[[str], None]
) -> list[Row]:
    """API and worker with and without recorders."""
    headers = {"Authorization": f"Bearer {api_key()}", "Content-Type": "application/json"}
    loads: dict[bool, list[Load]] = {True: [], False: []}
    drains: dict[bool, list[Drained]] = {True: [], False: []}
    with practice_site() as site:
        for turn in range(rounds):
            # Whoever is second in a round finds caches warm.
            for is_watched in (turn % 2 == 0, turn % 2 == 1):
                loads[is_watched].append(api_load(headers, requests, is_watched))
                drained = drain(site, jobs, 100, PERFORMANCE_ENABLED=enabled(is_watched))
                drains[is_watched].append(drained)
            progress(
                f"round {turn + 1} of {rounds}: API {loads[True][-1].rate:,.0f} watched, "
                f"{loads[False][-1].rate:,.0f} requests/s unwatched; worker "
                f"{drains[True][-1].rate:,.0f} and {drains[False][-1].rate:,.0f} jobs/s"
            )
    on, off = loads[True], loads[False]
    rates = [a.rate / b.rate for a, b in zip(on, off, strict=True)]
    tails = [b.p95 / a.p95 for a, b in zip(on, off, strict=True)]
    works = [a.rate / b.rate for a, b in zip(drains[True], drains[False], strict=True)]
    waits = [b.p95 / a.p95 for a, b in zip(drains[True], drains[False], strict=True)]
    return [
        Row("API watched, median", statistics.median(one.rate for one in on), "requests/s"),
        Row("API unwatched, median", statistics.median(one.rate for one in off), "requests/s"),
        judged("API throughput, watched ÷ unwatched", statistics.median(rates), "×", "≥", GOAL),
        Row("API p95 watched, median", statistics.median(one.p95 for one in on), "ms"),
        judged("API p95, unwatched ÷ watched", statistics.median(tails), "×", "≥", GOAL),
        Row("worker watched, median", statistics.median(d.rate for d in drains[True]), "jobs/s"),
        judged("worker throughput, watched ÷ unwatched", statistics.median(works), "×", "≥", GOAL),
        Row("worker p95 watched, median", statistics.median(d.p95 for d in drains[True]), "ms"),
        judged("worker p95, unwatched ÷ watched", statistics.median(waits), "×", "≥", GOAL),
    ]


def enabled(is_watched: bool) -> str:
    """The value of PERFORMANCE_ENABLED."""
    return "true" if is_watched else "false"


def api_load(headers: dict[str, str], requests: int, is_watched: bool) -> Load:
    """One web process under as many requests as CONNECTIONS can send."""
    clear()
    with web_server(PERFORMANCE_ENABLED=enabled(is_watched), DB_POOL_SIZE="4") as base:
        send(base, headers, WARM_UP)
        times: list[float] = []
        threads = [
            threading.Thread(
                target=lambda: times.extend(send(base, headers, requests // CONNECTIONS))
            )
            for _ in range(CONNECTIONS)
        ]
        began = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = perf_counter() - began
    if len(times) < requests // CONNECTIONS * CONNECTIONS:
        raise RuntimeError("requests failed: see the web server's output")
    return Load(len(times) / seconds, statistics.quantiles(times, n=20)[-1] * 1000)


def job(url: str) -> bytes:
    """The body that submits it."""
    return orjson.dumps({"url": url})


def send(base: str, headers: dict[str, str], requests: int, body: bytes = JOB) -> list[float]:
    """Submit jobs and ask for each, by one connection; returns what each request took, in s."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=60)
    times = []
    path = ""
    for number in range(requests):
        began = perf_counter()
        if number % 2:
            connection.request("GET", path, headers=headers)
        else:
            connection.request("POST", "/api/v1/jobs", body, headers)
        response = connection.getresponse()
        answer = response.read()
        times.append(perf_counter() - began)
        if response.status not in (200, 202):
            raise RuntimeError(f"{response.status}: {answer[:200]!r}")
        path = f"/api/v1/jobs/{orjson.loads(answer)['id']}"
    connection.close()
    return times


def console_rows(rounds: int, keys: int | None) -> list[Row]:
    """Server time of the overview and of each card in its slowest window, medians of the rounds."""
    # The measured processes were watched too.
    busy_fleet.clear()
    began = perf_counter()
    number = busy_fleet.make(keys)
    rows = [
        Row("rows of a busy fleet", number, "rows"),
        Row("made in", perf_counter() - began, "s"),
    ]
    browser = Browser(HTTP_HOST="127.0.0.1")
    browser.force_login(User.objects.create_superuser("observer"))

    def overview(period: str) -> None:
        answer = browser.get(reverse("console:overview"), {"period": period})
        if answer.status_code != 200:
            raise RuntimeError(f"the overview answers {answer.status_code}")

    for period in ("1h", "7d"):
        took = usual(partial(overview, period), rounds)
        rows.append(judged(f"overview, {period}", took, "ms", "≤", OVERVIEW))
    for name, card in CARDS.items():
        times = [usual(partial(shown, card, Scope(one)), rounds) for one in PERIODS.values()]
        rows.append(judged(f"card {name}, slowest window", max(times), "ms", "≤", CARD))
    return rows


def shown(card: Card, scope: Scope) -> None:
    """Read a card and draw it. Raises RuntimeError when it has nothing to show."""
    (one,) = rendered([card], scope)
    if one.error or one.content.empty:
        raise RuntimeError(f"card {card.name} is not measured: {one.error or one.content.empty}")


def usual(work: Callable[[], object], times: int) -> float:
    """Milliseconds of it, the median of so many times."""
    took = []
    for _ in range(times):
        busy_states.speak()
        began = perf_counter()
        work()
        took.append(perf_counter() - began)
    return statistics.median(took) * 1000
