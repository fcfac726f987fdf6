"""Every run of a benchmark is kept, for the console to compare with those before."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from django.db import Error
from django.utils import timezone

from performance.models import BenchmarkRun

if TYPE_CHECKING:
    from performance.benchmarks.report import Report


def keep(report: Report, seconds: float) -> str:
    """Store the run in the database of DATABASE_URL; returns what became of it, in a sentence."""
    document = report.document()
    try:
        BenchmarkRun.objects.create(
            name=report.name,
            revision=document["revision"],
            machine=document["machine"],
            rows=[asdict(row) for row in report.rows],
            is_met=report.met,
            seconds=seconds,
            finished_at=timezone.now(),
        )
    except Error:
        return (
            "This run is in no console's history: where DATABASE_URL leads, the service has no "
            "tables, or they cannot be written to. Run it with the service's own to have it there."
        )
    return "This run is in the console's history, at /admin/performance/benchmarks/."
