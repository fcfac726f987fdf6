"""`manage.py duties`: what the fleet does regularly, and how that went."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from jobs.engine.duties import DUTIES
from jobs.models import Duty

LINE = "{:<16} {:>7} {:>20} {:>9} {:>12}  {}"


class Command(BaseCommand):
    """Adapter to the table of duties."""

    help = "Print the duties of the fleet: how often, last run, rows, errors."
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        """Print a line a duty."""
        known = Duty.objects.in_bulk()
        self.stdout.write(LINE.format("duty", "every", "last run (UTC)", "rows", "in all", "state"))
        for name, spec in DUTIES.items():
            duty = known.get(name) or Duty(name=name)
            last = f"{duty.last_run_at:%Y-%m-%d %H:%M:%S}" if duty.last_run_at else "never"
            state = duty.error.partition("\n")[0] or ("behind" if duty.is_behind else "ok")
            counts = (duty.rows, duty.rows_in_all)
            self.stdout.write(LINE.format(name, f"{spec.every} s", last, *counts, state))
