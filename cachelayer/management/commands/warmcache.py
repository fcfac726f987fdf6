"""`manage.py warmcache`: fill the cache before anybody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from cachelayer.warming import warm, warmers

if TYPE_CHECKING:
    from argparse import ArgumentParser


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
            raise CommandError(f"No warmer named {', '.join(unknown)}. Known: {', '.join(known)}.")
        failed = 0
        with Progress(console=Console(file=self.stdout)) as progress:
            for name in names or known:
                task = progress.add_task(name, total=None)
                loaded, lost = warm(known[name], lambda task=task: progress.advance(task))
                progress.update(task, total=loaded + lost)
                progress.console.print(f"{name}: {loaded} values loaded, {lost} failed")
                failed += lost
        if failed:
            raise CommandError(f"{failed} values could not be loaded; the log says why.")
