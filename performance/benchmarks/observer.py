"""What it costs to be watched, and how fast the console shows seven days of a busy fleet.

The API (jobs submitted and asked for, by several connections at once) and a worker that drains
jobs, each with all recorders on and with PERFORMANCE_ENABLED=false, in turns of a second or less,
both started several times.
Then the overview and each card over the data of `busy_fleet`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from performance.benchmarks.observer_console import console_rows
from performance.benchmarks.observer_turns import MORE_OFTEN, Length, api, in_starts, workers
from performance.benchmarks.report import Report, Row, judged
from performance.storage.reading import values

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

    from performance.benchmarks.turns import Side

HELP = "throughput and p95 of API and worker, watched ÷ unwatched; how fast the console is"
GOAL = 0.95


def add_arguments(parser: ArgumentParser) -> None:
    """`--starts`, `--rounds`, `--requests`, `--jobs`, `--seconds`, `--warm-up`, `--keys`."""
    parser.add_argument(
        "--starts",
        type=int,
        default=8,
        help="of both that are compared: of an even number each is first as often as second "
        "(default 8)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=9,
        help="of four turns, a start (default 9); of the API, whose turns are shorter, "
        f"{MORE_OFTEN} times as many",
    )
    parser.add_argument("--requests", type=int, default=80, help="of the API, a turn (default 80)")
    parser.add_argument("--jobs", type=int, default=6000, help="for each round (default 6000)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="a turn of a worker takes (default 1)"
    )
    parser.add_argument(
        "--warm-up",
        type=float,
        default=20.0,
        help="seconds before: web processes answer, workers wait for jobs (default 20)",
    )
    parser.add_argument("--keys", type=int, help="of each type in the busy fleet (default: all)")


def run(*, keys: int | None, progress: Callable[[str], None], **options: Any) -> Report:
    """Measure and judge, in a scratch database."""
    length = Length(**options)
    rows = compared("API", "requests/s", *in_starts(api, length, progress))
    rows.append(told("API, what the console says it costs", "web", "cost"))
    rows.append(told("API, requests of which the console says it looks into", "web", "rate"))
    rows += compared("worker", "jobs/s", *in_starts(workers, length, progress))
    rows.append(told("worker, what the console says it costs", "worker", "cost"))
    progress("seven days of a busy fleet …")
    return Report("observer", [*rows, *console_rows(keys)])


def compared(name: str, unit: str, watched: Side, unwatched: Side) -> list[Row]:
    """What both did a second, how long one in twenty took, and what was computed for each."""
    rate, tail = watched.rate / unwatched.rate, unwatched.p95 / watched.p95
    cpu = watched.cpu_each / unwatched.cpu_each
    return [
        Row(f"{name} watched", watched.rate, unit),
        Row(f"{name} unwatched", unwatched.rate, unit),
        judged(f"{name} throughput, watched ÷ unwatched", rate, "×", "≥", GOAL),
        Row(f"{name} p95 watched", watched.p95, "ms"),
        judged(f"{name} p95, unwatched ÷ watched", tail, "×", "≥", GOAL),
        Row(f"{name} processor time of each, unwatched", unwatched.cpu_each, "ms"),
        Row(f"{name} processor time, watched ÷ unwatched", cpu, "×"),
    ]


def told(metric: str, role: str, share: str) -> Row:
    """A share that the console itself tells of processes of that role, the largest."""
    found = [one[share] for one in values("process").values() if one["role"] == role]
    return Row(metric, 100 * max(found, default=0.0), "%")
