"""`manage.py cache {stats,clear,inspect}`: look at level 2 and empty it, for operators."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from cachelayer import operations
from cachelayer.remote import Unavailable

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Adapter to `cachelayer.operations`."""

    help = "Show or empty the shared level of the cache."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`stats`, `clear [NAMESPACE …] [--all]`, `inspect KEY`."""
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("stats", help="entries and bytes of each namespace")
        clear = actions.add_parser("clear", help="remove the entries of namespaces")
        clear.add_argument("namespaces", nargs="*", metavar="NAMESPACE")
        clear.add_argument("--all", action="store_true", help="every namespace")
        inspect = actions.add_parser("inspect", help="show one entry")
        inspect.add_argument("key")

    def handle(self, *, action: str, **options: Any) -> None:
        """Run one of the actions."""
        console = Console(file=cast("IO[str]", self.stdout))
        try:
            if action == "stats":
                console.print(operations.stats_table())
            elif action == "inspect":
                console.print(operations.describe(options["key"]), markup=False, soft_wrap=True)
            else:
                self._clear(options["namespaces"], everything=options["all"])
        except Unavailable as error:
            raise CommandError(f"Valkey does not answer: {error}") from error
        except LookupError as error:
            raise CommandError(str(error)) from error

    def _clear(self, namespaces: list[str], *, everything: bool) -> None:
        if not namespaces and not everything:
            raise CommandError("Name the namespaces to clear, or give --all.")
        for name in operations.namespaces() if everything else namespaces:
            self.stdout.write(f"{name}: {operations.clear(name)} entries removed")
