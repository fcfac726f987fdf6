"""`manage.py up`: the whole service on this machine, supervised."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scraper_site.embedded import DEFAULT_DATA_DIR
from scraper_site.env import environment
from scraper_site.stack import FAILURES, Stack, StackOptions


class Command(BaseCommand):
    """Start, scrape once, serve until Ctrl-C."""

    help = "Run databases, practice site, web server and workers; serve until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--once", action="store_true", help="exit after the first scrape")
        parser.add_argument("--port", type=int, default=environment().port)
        parser.add_argument("--workers", type=int, default=1)
        parser.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_DIR)

    def handle(self, **options: Any) -> None:
        """Run the stack; the exit code is 0 when it was right and stopped cleanly."""
        names = StackOptions.__dataclass_fields__
        wanted = StackOptions(**{name: options[name] for name in names})
        try:
            right = Stack(wanted, sys.stdout).run()
        except FAILURES as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            sys.exit(130 if wanted.once else 0)
        if not right:
            raise CommandError("The first scrape did not bring the right records.")
