"""What the two-level cache costs beside bare redis-py, and what it saves.

In turns, so that a noisy machine disturbs all alike: each round reads the same 100 values by bare
GETs and from level 2 alternately, then from level 1, as misses, and in bulk both ways; ratios are
taken within a round. Then many readers ask for one cold value at once, a process fills its level 1,
and web servers show what a worker changes. All on the server of REDIS_URL, under keys of the
benchmark's own, which it removes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachelayer.codec import LARGEST_BODY, Entry, decode, encode
from performance.benchmarks import cache_crowd
from performance.benchmarks.cache_fleet import fleet, payload
from performance.benchmarks.cache_reads import BULK, SMALL_RECORDS, Reads, Round, median, per_call
from performance.benchmarks.cache_visibility import visibility_rows
from performance.benchmarks.report import Report, Row, judged

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

    from performance.benchmarks.cache_crowd import Crowd
    from performance.benchmarks.cache_fleet import Fleet

HELP = "the cache beside bare redis-py: reads, single flight, memory; how soon changes are seen"
BUDGET = 20_000_000
VALUE = 10_000
CODED = 200


@dataclass(frozen=True, slots=True)
class Coded:
    """A payload in level 2: its bytes there, and microseconds to encode and decode it."""

    size: int
    micros: float


def add_arguments(parser: ArgumentParser) -> None:
    """`--rounds`, `--readers`, `--changes`."""
    parser.add_argument("--rounds", type=int, default=100, help="turns of all reads (default 100)")
    parser.add_argument(
        "--readers", type=int, default=500, help="coroutines at one cold key (default 500)"
    )
    parser.add_argument(
        "--changes", type=int, default=60, help="ends of jobs to be seen (default 60)"
    )


def run(*, rounds: int, readers: int, changes: int, progress: Callable[[str], None]) -> Report:
    """Measure and compare."""
    with fleet() as processes:
        reads = Reads(processes)
        done = [reads.round(turn) for turn in range(rounds)]
        progress(f"{rounds} rounds of {BULK} reads each way")
        crowds = crowd_rows(processes, readers)
        progress("readers at once")
    coded = codec_rows(rounds)
    grown = memory_growth()
    progress("codec and memory")
    seen = visibility_rows(changes)
    progress("changes of jobs seen by web servers")
    return Report(
        "cache",
        [
            *read_rows(done),
            *bulk_rows(done),
            *crowds,
            *coded,
            judged("level 1: growth of the process ÷ budget", grown, "×", "≤", 1.1),
            *seen,
        ],
    )


def read_rows(done: list[Round]) -> list[Row]:
    """One value at a time."""
    return [
        Row("bare redis-py GET, median", median(done, lambda one: one.bare), "µs"),
        Row("level-2 hit, median", median(done, lambda one: one.remote), "µs"),
        judged("level-2 hit ÷ bare GET", median(done, lambda r: r.remote / r.bare), "×", "≤", 1.5),
        Row("level-1 hit, median", median(done, lambda one: one.local), "µs"),
        judged("level-2 ÷ level-1 hit", median(done, lambda r: r.remote / r.local), "×", "≥", 20),
        Row("miss, median", median(done, lambda one: one.miss), "µs"),
        Row("miss ÷ bare GET", median(done, lambda one: one.miss / one.bare), "×"),
        judged("reads another level answered", sum(one.strays for one in done), "reads", "≤", 0),
    ]


def bulk_rows(done: list[Round]) -> list[Row]:
    """BULK small values, all of them from level 2."""
    gain = median(done, lambda one: BULK * one.single / one.bulk)
    bare_gain = median(done, lambda one: BULK * one.bare_single / one.bare_bulk)
    size = len(payload(SMALL_RECORDS))
    return [
        Row(
            f"{BULK} single gets of {size} bytes",
            median(done, lambda r: BULK * r.single / 1000),
            "ms",
        ),
        Row(f"get_many({BULK})", median(done, lambda one: one.bulk / 1000), "ms"),
        judged("single gets ÷ get_many", gain, "×", "≥", 10),
        Row(f"bare redis-py MGET of {BULK}", median(done, lambda r: r.bare_bulk / 1000), "ms"),
        Row("bare GETs ÷ MGET", bare_gain, "×"),
    ]


def crowd_rows(processes: Fleet, readers: int) -> list[Row]:
    """Single flight, by coroutines and by threads."""

    def rows(who: str, crowd: Crowd) -> list[Row]:
        return [
            judged(f"{who} at a cold key: loads", crowd.loads, "loads", "≤", 1),
            Row(
                f"{who}: wall time beyond the load's {cache_crowd.LOAD_SECONDS * 1000:g} ms",
                crowd.waited * 1000,
                "ms",
            ),
        ]

    return [
        *rows(f"{readers} coroutines", cache_crowd.coroutines(processes, readers)),
        *rows(f"{cache_crowd.THREADS} threads", cache_crowd.threads(processes)),
    ]


def codec_rows(rounds: int) -> list[Row]:
    """The payload in level 2, compressed and not, whichever the service's settings choose."""
    rows = [Row("payload", len(payload()), "bytes")]
    coded = {"compressed": 0, "not compressed": LARGEST_BODY}
    done = [{name: code(above) for name, above in coded.items()} for _ in range(rounds)]
    for name in coded:
        micros = statistics.median(one[name].micros for one in done)
        rows += [
            Row(f"kept in level 2, {name}", done[0][name].size, "bytes"),
            Row(f"encode and decode, {name}", micros, "µs"),
        ]
    return rows


def code(compress_above: int) -> Coded:
    """Encode and decode the payload CODED times."""
    now = time.time()
    entry = Entry(payload(), now, now + 60, now + 60)
    data = encode(entry, compress_above=compress_above)
    micros = per_call(
        lambda above: decode(encode(entry, compress_above=above)), [compress_above] * CODED
    )
    return Coded(len(data), micros)


def memory_growth() -> float:
    """What a process grows by ÷ BUDGET, measured in a process of its own."""
    command = [sys.executable, "-m", "performance.benchmarks.cache_memory"]
    command += ["--budget", str(BUDGET), "--value", str(VALUE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)
