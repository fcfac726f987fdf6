"""`manage.py runworker`: scrape queued jobs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Adapter to `jobs.engine.worker`."""

    help = "Run a worker: claims queued jobs, scrapes them and stores the results."
    # The checks import every URL and view: a worker serves none.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--concurrency`."""
        parser.add_argument(
            "--concurrency",
            type=int,
            help="scrapes at once, at least 2 (default: WORKER_CONCURRENCY)",
        )

    def handle(self, **options: Any) -> None:
        """Run until SIGTERM or SIGINT; running scrapes get WORKER_DRAIN_TIMEOUT seconds."""
        import uvloop

        from jobs.conf import job_settings
        from jobs.engine.database import DatabaseUnreachable
        from jobs.engine.worker import Worker

        settings = job_settings()
        concurrency = options["concurrency"] or settings.worker_concurrency
        if concurrency < 2:
            raise CommandError("--concurrency must be at least 2.")
        try:
            uvloop.run(Worker(settings, concurrency, report=self._report).run())
        except DatabaseUnreachable as error:
            raise CommandError(str(error)) from error

    def _report(self, line: str) -> None:
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except BrokenPipeError:
            # Whoever read this is gone; what is left to do must be done all the same.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
