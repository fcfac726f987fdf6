"""`manage.py benchmark NAME`: measure, print a table, judge."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand
from rich.console import Console

from performance.benchmarks import (
    backlog,
    cache,
    collections,
    concurrency,
    observer,
    recorders,
    throughput,
)
from performance.benchmarks.history import keep
from performance.benchmarks.scratch import scratch_database

if TYPE_CHECKING:
    from argparse import ArgumentParser

BENCHMARKS = {
    "backlog": backlog,
    "cache": cache,
    "collections": collections,
    "concurrency": concurrency,
    "observer": observer,
    "recorders": recorders,
    "throughput": throughput,
}
DJANGO_OPTIONS = (
    "verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks",
)  # fmt: skip


class Command(BaseCommand):
    """Adapter to `performance.benchmarks`."""

    help = "Run a benchmark; exits 0 only when every figure with a goal meets it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """A subcommand for each benchmark, all with `--json`."""
        names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
        for name, module in BENCHMARKS.items():
            one = names.add_parser(name, help=module.HELP, description=module.__doc__)
            one.add_argument("--json", type=Path, metavar="FILE", help="also write the report here")
            module.add_arguments(one)

    def handle(self, *, name: str, json: Path | None, **options: Any) -> None:
        """Run in a database of its own on the server of DATABASE_URL."""
        console = Console()
        arguments = {key: value for key, value in options.items() if key not in DJANGO_OPTIONS}
        began = monotonic()
        with scratch_database():
            report = BENCHMARKS[name].run(**arguments, progress=console.print)
        report.print(console)
        seconds = monotonic() - began
        if json:
            report.write(json)
        console.print(keep(report, seconds))
        if not report.met:
            sys.exit(1)
