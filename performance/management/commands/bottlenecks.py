"""`manage.py bottlenecks`: what limits the service, with the evidence and what to change."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Any, cast

import orjson
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from performance.analysis.bottlenecks.analyser import analyse
from performance.analysis.bottlenecks.evidence import WINDOWS
from performance.analysis.bottlenecks.history import keep
from performance.analysis.bottlenecks.shapes import percent
from performance.console.figures import figure
from performance.console.reports import changed, times
from performance.recording.rescue import unobserved

if TYPE_CHECKING:
    from argparse import ArgumentParser

WATCH_EVERY = 10.0


class Command(BaseCommand):
    """Adapter to `performance.analysis.bottlenecks`."""

    _is_stopped = False

    help = "Name what limits the service; exits 0 when nothing is red, 1 otherwise."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The window, and where the report goes besides the terminal."""
        parser.add_argument(
            "--period", choices=WINDOWS, default="1h", help="how far to look back (default: 1h)"
        )
        parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report here")
        parser.add_argument(
            "--watch", action="store_true", help="again every 10 s until Ctrl-C; nothing is stored"
        )

    def handle(self, *, period: str, json: Path | None, watch: bool, **_: Any) -> None:
        """Analyse and print, once or for ever."""
        console = Console(file=cast("IO[str]", self.stdout._out))
        if watch:
            # A KeyboardInterrupt could come up where nobody can catch it, as in a finaliser.
            signal.signal(signal.SIGINT, self._stop)
        level = self._look(console, period, json, is_kept=not watch)
        while watch and self._waited():
            console.clear()
            level = self._look(console, period, json, is_kept=False)
        if level == "red":
            sys.exit(1)

    def _stop(self, *_: object) -> None:
        self._is_stopped = True

    def _waited(self) -> bool:
        """Whether it is time to look again; False after Ctrl-C."""
        deadline = monotonic() + WATCH_EVERY
        while monotonic() < deadline and not self._is_stopped:
            sleep(0.1)
        return not self._is_stopped

    def _look(self, console: Console, period: str, json: Path | None, *, is_kept: bool) -> str:
        with unobserved():
            report = analyse(WINDOWS[period])
            if is_kept:
                keep(report)
        document = report.document()
        show(console, document)
        if json is not None:
            try:
                json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
            except OSError as error:
                raise CommandError(f"The report could not be written: {error}") from None
        return str(document["level"])


def show(console: Console, document: dict[str, Any]) -> None:
    """The verdict, then each bottleneck with its evidence, the worst first."""
    colour = document["level"]
    console.print(f"[bold {colour}]{escape(document['summary'])}.[/]")
    console.print(f"[dim]{times(document)}[/]")
    for one in document["bottlenecks"]:
        show_bottleneck(console, one)
    if not document["bottlenecks"]:
        told = [one for one in document["figures"] if one["value"] is not None]
        console.print(evidence(told))
    for sentence in document["missing"]:
        console.print(f"[dim]Not known: {escape(sentence)}[/]")


def show_bottleneck(console: Console, one: dict[str, Any]) -> None:
    """Why, how much, what to change, and what proves it."""
    console.print()
    cost = f"{percent(one['severity'])} of the {one['whose']}' time"
    console.print(f"[bold {one['level']}]{escape(one['title'])}[/]: {cost}", highlight=False)
    console.print(f"  {escape(one['reason'][:1].upper() + one['reason'][1:])}.", highlight=False)
    if one["change"]["setting"]:
        console.print(f"  Change [bold]{escape(changed(one['change']))}[/]", highlight=False)
    console.print(f"  {escape(one['change']['how'])}", highlight=False)
    console.print(f"  Then: {escape(one['effect'])}", highlight=False)
    console.print(f"  See {escape(one['guide'])}", highlight=False)
    console.print(evidence(one["evidence"]))


def evidence(figures: list[dict[str, Any]]) -> Table:
    """Figures with their sources."""
    table = Table(box=None, padding=(0, 1, 0, 2), show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for one in figures:
        table.add_row(one["label"], escape(figure(one["value"], one["unit"])), one["source"])
    return table
