"""Bottlenecks: what limits the service now, what to change, and what was found before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.urls import NoReverseMatch, reverse

from performance.analysis.bottlenecks.evidence import WINDOWS
from performance.analysis.bottlenecks.sampler import DETECTED, PUBLISHED
from performance.cards.shapes import Chart, Column, Content, Health, Level, Line, Row, Table
from performance.models import BottleneckReport
from performance.storage.reading import series, values

if TYPE_CHECKING:
    from performance.storage.reading import Scope

# Looked for once a minute; what is older than that is of another time.
FRESH = timedelta(minutes=3)
MOST_REPORTS = 50
EMPTY = (
    "Nobody has looked for bottlenecks in the last three minutes. Any web process or worker does so"
    " every minute: start one, with Valkey and PERFORMANCE_ENABLED on; or ask now, below, or by"
    " `manage.py bottlenecks`."
)
# What somebody may ask about.
ASKING = {"periods": list(WINDOWS)}
COLUMNS = (
    Column("title", "Limiter"),
    Column("severity", "Costs", "percent"),
    Column("whose", "Of whose time"),
    Column("reason", "Because"),
    Column("setting", "Change", "code"),
    Column("present", "Is"),
    Column("wanted", "Should be"),
    Column("unit", "Unit"),
    Column("how", "How"),
    Column("effect", "Then"),
    Column("guide", "More", "code"),
)
EVIDENCE = (
    Column("title", "Limiter"),
    Column("label", "Figure"),
    Column("value", "Value"),
    Column("unit", "Unit"),
    Column("source", "Read from", "code"),
)
REPORTS = (
    Column("at", "When", "time"),
    Column("period", "Period"),
    Column("limiter", "Limiter"),
    Column("severity", "Costs", "percent"),
    Column("by", "Asked by"),
)


class BottlenecksCard:
    """What to change first."""

    name = "bottlenecks"
    title = "Bottlenecks"
    template = "admin/performance/report_links.html"

    def content(self, scope: Scope) -> Content:
        """The latest look at the last ten minutes of the fleet, and the reports that are kept."""
        told = values(PUBLISHED, within=FRESH).values()
        latest: dict[str, Any] = max(told, key=lambda one: str(one["at"]), default={})
        if not latest:
            return Content(
                health=Health(Level.YELLOW, "what limits the service is not known"),
                tables=[reports()],
                empty=EMPTY,
                extra=ASKING,
            )
        found = latest["bottlenecks"]
        return Content(
            health=Health(Level[latest["level"].upper()], latest["summary"]),
            charts=[begun(scope)],
            tables=[] if scope.is_brief else [bottlenecks(found), evidence(found), reports()],
            note=" ".join(latest["missing"]),
            extra=ASKING,
        )


def bottlenecks(found: list[dict[str, Any]]) -> Table:
    """A row a bottleneck, the worst first; its link leads to the evidence."""
    rows = []
    for one in found:
        change = one["change"]
        cells = {name: one[name] for name in ("title", "whose", "reason", "effect", "guide")}
        cells |= {name: change[name] for name in ("setting", "how", "present", "wanted", "unit")}
        cells["severity"] = 100 * one["severity"]
        rows.append(Row(cells, address(one["target"]), Level[one["level"].upper()]))
    return Table("bottlenecks", "Now, the worst first", COLUMNS, rows, "Nothing limits.")


def evidence(found: list[dict[str, Any]]) -> Table:
    """What proves them, a row a figure."""
    rows = [
        Row({"title": one["title"], **proof}, level=Level[one["level"].upper()])
        for one in found
        for proof in one["evidence"]
    ]
    return Table("evidence", "What proves it", EVIDENCE, rows, "Nothing limits.")


def begun(scope: Scope) -> Chart:
    """How many bottlenecks began, in each bucket of the window."""
    points = series(DETECTED, scope)
    line = Line("begun", [point.summary.count for point in points])
    return Chart("Bottlenecks that began", [point.at for point in points], [line])


def reports() -> Table:
    """The latest reports that are kept: when something changed, and those that somebody asked."""
    # Whole documents are long: only what is shown is read of them.
    found = BottleneckReport.objects.order_by("-created_at").values_list(
        "pk", "created_at", "period", "document__state", "document__level",
        "document__bottlenecks__0__title", "document__bottlenecks__0__severity",
        "requested_by__username",
    )  # fmt: skip
    rows = []
    for number, at, period, state, level, title, severity, user in found[:MOST_REPORTS]:
        cells = {
            "at": at,
            "period": period,
            "limiter": title or state,
            "severity": None if severity is None else 100 * severity,
            "by": user or "",
        }
        rows.append(Row(cells, reverse("console:report", args=[number]), Level[level.upper()]))
    return Table("reports", "Reports", REPORTS, rows, "No report is kept yet.")


def address(target: list[str]) -> str:
    """Where the evidence is; empty when a later version has no such page."""
    try:
        return reverse(f"console:{target[0]}", args=target[1:])
    except NoReverseMatch:
        return ""
