"""What garbage collections cost a process that answers requests, tuned and as Python has it.

In turns, a process each: what was imported is frozen and collections come less often, or neither.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import orjson

from performance.benchmarks.report import Report, Row, judged
from performance.benchmarks.tenants import api_key

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

HELP = "pauses and time of garbage collections, tuned ÷ as Python has it"
# Of what they are as Python has it.
GOAL_PAUSE, GOAL_TIME = 0.25, 0.75


def add_arguments(parser: ArgumentParser) -> None:
    """`--rounds`, `--requests`."""
    parser.add_argument("--rounds", type=int, default=3, help="turns of both (default 3)")
    parser.add_argument(
        "--requests", type=int, default=3000, help="of the API, a turn (default 3000)"
    )


def run(*, rounds: int, requests: int, progress: Callable[[str], None]) -> Report:
    """Measure and compare, in a scratch database."""
    key = api_key()
    plain, tuned = [], []
    for turn in range(1, rounds + 1):
        plain.append(answered(key, requests))
        tuned.append(answered(key, requests, "--tuned"))
        progress(
            f"round {turn} of {rounds}: longest pause {plain[-1]['longest']:.1f} ms as Python has "
            f"it, {tuned[-1]['longest']:.1f} ms tuned"
        )

    def median(found: list[dict[str, float]], part: str) -> float:
        return statistics.median(one[part] for one in found)

    shares = [
        statistics.median(one["collecting"] / one["seconds"] for one in found)
        for found in (plain, tuned)
    ]
    pauses = [median(found, "longest") for found in (plain, tuned)]
    return Report(
        "collections",
        [
            Row("longest pause as Python has it, median", pauses[0], "ms"),
            Row("longest pause tuned, median", pauses[1], "ms"),
            judged("longest pause, tuned ÷ untuned", pauses[1] / pauses[0], "×", "≤", GOAL_PAUSE),
            Row("time in collections as Python has it", 100 * shares[0], "percent"),
            Row("time in collections tuned", 100 * shares[1], "percent"),
            judged(
                "time in collections, tuned ÷ untuned", shares[1] / shares[0], "×", "≤", GOAL_TIME
            ),
        ],
    )


def answered(key: str, requests: int, *flags: str) -> dict[str, float]:
    """What one process prints."""
    command = [sys.executable, "-m", "performance.benchmarks.collecting", key]
    command += ["--requests", str(requests), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = orjson.loads(done.stdout)
    return found
