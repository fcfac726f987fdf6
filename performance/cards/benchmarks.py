"""Benchmarks: the latest run of each, and how its figures went before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.cards.shapes import (
    Chart,
    Column,
    Content,
    Health,
    Level,
    Line,
    Row,
    Table,
    shown,
)
from performance.models import BenchmarkRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from performance.storage.reading import Scope

MOST_RUNS = 200
EMPTY = (
    "No benchmark was run on this database yet. `manage.py benchmark throughput` takes a minute, "
    "and is shown here when it has ended; `manage.py benchmark --help` lists the others."
)
LATEST = (
    Column("metric", "Metric", ""),
    Column("value", "Value", "number"),
    Column("unit", "Unit", ""),
    Column("goal", "Goal", ""),
    Column("met", "Met", ""),
    Column("before", "Before", "number"),
    Column("change", "Change", "percent"),
)
RUNS = (
    Column("finished", "Finished", "time"),
    Column("name", "Benchmark", ""),
    Column("revision", "Revision", "code"),
    Column("met", "Goals met", ""),
    Column("took", "Took", "seconds"),
    Column("machine", "Machine", ""),
)


class BenchmarksCard:
    """What was measured, when, of which code."""

    name = "benchmarks"
    title = "Benchmarks"
    template = ""

    def content(self, scope: Scope) -> Content:
        """All runs that are kept; a benchmark is not run every hour, so the window is no matter."""
        runs = list(BenchmarkRun.objects.order_by("-finished_at")[:MOST_RUNS])
        if not runs:
            return Content(empty=EMPTY)
        by_name: dict[str, list[BenchmarkRun]] = {}
        for run in runs:
            by_name.setdefault(run.name, []).append(run)
        latest = [found[0] for found in by_name.values()]
        return Content(
            health=health(latest),
            charts=shown(charts(by_name), scope),
            tables=[]
            if scope.is_brief
            else [*(latest_table(found) for found in by_name.values()), runs_table(runs)],
        )


def health(latest: Sequence[BenchmarkRun]) -> Health:
    """Whether the latest run of each met its goals."""
    missed = [run.name for run in latest if not run.is_met]
    if missed:
        return Health(Level.YELLOW, f"the latest run of {', '.join(missed)} missed a goal")
    return Health(Level.GREEN, "the latest run of every benchmark met its goals")


def goal_metrics(run: BenchmarkRun) -> list[str]:
    """The figures with a goal that are ratios: those that can be compared over machines."""
    return [row["metric"] for row in run.rows if row["goal"] and row["unit"] == "×"]


def charts(by_name: Mapping[str, Sequence[BenchmarkRun]]) -> Iterator[Chart]:
    """One for each benchmark that was run more than once, of its ratios."""
    for name, runs in by_name.items():
        if len(runs) > 1 and goal_metrics(runs[0]):
            yield chart(name, runs)


def chart(name: str, runs: Sequence[BenchmarkRun]) -> Chart:
    """The ratios that have goals, the oldest run first."""
    ordered = list(reversed(runs))
    lines = [
        Line(metric, [value_of(run, metric) for run in ordered]) for metric in goal_metrics(runs[0])
    ]
    return Chart(name, [run.finished_at for run in ordered], lines, has_buckets=False)


def value_of(run: BenchmarkRun, metric: str) -> float | None:
    """A run's figure; None when it had none of that name."""
    return next((row["value"] for row in run.rows if row["metric"] == metric), None)


def latest_table(runs: Sequence[BenchmarkRun]) -> Table:
    """The latest figures of a benchmark, beside those of the run before."""
    latest, before = runs[0], runs[1] if len(runs) > 1 else None
    rows = []
    for row in latest.rows:
        earlier = value_of(before, row["metric"]) if before else None
        change = 100 * (row["value"] / earlier - 1) if earlier else None
        cells = {
            **{name: row[name] for name in ("metric", "value", "unit", "goal", "met")},
            "before": earlier,
            "change": change,
        }
        rows.append(Row(cells, level=Level.RED if row["met"] is False else Level.GREEN))
    title = f"{latest.name}, revision {latest.revision}"
    return Table(f"latest-{latest.name}", title, LATEST, rows)


def runs_table(runs: Sequence[BenchmarkRun]) -> Table:
    """All runs, the latest first."""
    rows = [
        Row(
            {
                "finished": run.finished_at,
                "name": run.name,
                "revision": run.revision,
                "met": run.is_met,
                "took": run.seconds,
                "machine": f"{run.machine.get('cpu')}, {run.machine.get('cores')} cores",
            },
            level=Level.GREEN if run.is_met else Level.YELLOW,
        )
        for run in runs
    ]
    return Table("runs", "All runs", RUNS, rows)
