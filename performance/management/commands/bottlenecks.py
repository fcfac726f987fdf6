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

from performance.analysis.bottlenecks.analyser import analyse
from performance.analysis.bottlenecks.evidence import WINDOWS
from performance.analysis.bottlenecks.history import keep
from performance.console.printing import show
from performance.recording.rescue import unobserved

if TYPE_CHECKING:
    from argparse import ArgumentParser

WATCH_EVERY = 10.0


class Command(BaseCommand):
    """Adapter to `performance.analysis.bottlenecks`."""

    _is_stopped = False

    help = "Name what limits the service; exits with 1 when something is red, with 0 otherwise."

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
