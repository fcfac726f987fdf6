"""`manage.py warmcache`: fill the cache before anybody asks."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from cachelayer.warming import warm, warmers

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from cachelayer.warming import Registered


class Command(BaseCommand):
    """Adapter to `cachelayer.warming`."""

    help = "Run the registered warmers, all or those named, with a progress bar."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The warmers' names."""
        known = ", ".join(one.name for one in warmers()) or "none"
        parser.add_argument("names", nargs="*", metavar="WARMER", help=f"registered: {known}")

    def handle(self, *, names: list[str], **options: Any) -> None:
        """Run them; exits with 1 when a value could not be loaded."""
        known = {one.name: one for one in warmers()}
        if unknown := sorted(set(names) - set(known)):
            listed = ", ".join(known) or "none"
            raise CommandError(f"No warmer named {', '.join(unknown)}. Known: {listed}.")
        self.stdout.ending = ""  # Django would add a line to every movement of the bar
        failed = 0
        with Progress(console=Console(file=cast("IO[str]", self.stdout))) as progress:
            for name in dict.fromkeys(names or known):
                failed += _warm(known[name], progress)
        if failed:
            raise CommandError(f"{failed} values could not be loaded; the log says why.")


def _warm(one: Registered, progress: Progress) -> int:
    """Run one warmer; returns how many values could not be loaded."""
    task = progress.add_task(one.name, total=None)
    loaded, failed = warm(one, lambda: progress.advance(task))
    progress.update(task, total=loaded + failed, completed=loaded + failed)
    progress.console.print(f"{one.name}: {loaded} values loaded, {failed} failed", soft_wrap=True)
    return failed
