"""The long form of the fault suite: every row of the matrix, then a storm.

python -m tests.faults [--seed N] [--duration S] [--jobs N] [--kills N] [--json FILE]

Runs on engines of its own and leaves nothing behind. Exits with 0 only when everything held.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from tests.faults.matrix import run_row
from tests.faults.report import Report
from tests.faults.rig import Rig
from tests.faults.scenarios import ROWS
from tests.faults.storm import Storm

console = Console(highlight=False, markup=True)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--duration", type=float, default=900, help="of the storm, in seconds")
    parser.add_argument("--jobs", type=int, default=10_000, help="to be acknowledged, at least")
    parser.add_argument("--kills", type=int, default=500, help="of processes, at least")
    parser.add_argument("--matrix", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--keep", action="store_true", help="keep logs, ledgers and the database")
    options = parser.parse_args()
    # As an exception it unwinds through the end of all processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()
    report = Report(options.seed)
    console.print(f"seed {options.seed}")
    if options.matrix:
        run_matrix(report, options)
    run_storm(report, options)
    report.seconds = time.monotonic() - started
    for table in report.tables():
        console.print(table)
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=2))
    return 0 if report.is_clean else 1


def run_matrix(report: Report, options: argparse.Namespace) -> None:
    """Every row that can be run, each for as long as the matrix says."""
    with Rig(full=True, keep=options.keep) as rig:
        outcomes = []
        for row in ROWS:
            if row.waits_for:
                console.print(f"  skipped  {row.name}: waits for {row.waits_for}")
                continue
            outcomes.append(run_row(rig, row))
            verdict = "holds" if outcomes[-1].is_clean else "[red]does not hold[/red]"
            console.print(f"{outcomes[-1].seconds:5.0f} s  {row.name}: {verdict}")
        try:
            rig.jobs.wait_until_told()
        except AssertionError as error:
            report.problems.append(str(error))
    report.add_rows(outcomes)


def run_storm(report: Report, options: argparse.Namespace) -> None:
    """Load with random faults."""
    with Rig(keep=options.keep) as rig:
        if options.keep:
            console.print(f"everything is in {rig.directory}")
        storm = Storm(rig, options.seed)
        load = storm.run(
            duration=options.duration,
            jobs=options.jobs,
            kills=options.kills,
            report=console.print,
        )
        try:
            report.problems += [str(violation) for violation in storm.quieten()]
        except AssertionError as error:
            report.problems.append(str(error))
        report.add_storm(rig, storm, load)
    if report.acknowledged < options.jobs or sum(report.kills.values()) < options.kills:
        report.problems.append("fewer jobs or kills than asked for: give it a longer --duration")


if __name__ == "__main__":
    sys.exit(main())
