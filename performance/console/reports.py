"""Reports of bottlenecks: one of them, two side by side, and one as Markdown to pass on."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.http import Http404, HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from performance.analysis.bottlenecks.analyser import analyse
from performance.analysis.bottlenecks.evidence import WINDOWS
from performance.analysis.bottlenecks.history import compare, keep
from performance.analysis.bottlenecks.shapes import percent
from performance.cards.bottlenecks import address
from performance.console.acts import ACT, LOOK, framed, record, require
from performance.console.exporting import csv_file
from performance.console.figures import figure
from performance.models import BottleneckReport

if TYPE_CHECKING:
    from django.http import HttpRequest

SLUG = "bottlenecks"


def report(request: HttpRequest, number: int) -> HttpResponse:
    """One report, and links to compare it with another."""
    require(request, LOOK)
    found = get_object_or_404(BottleneckReport, pk=number)
    others = BottleneckReport.objects.exclude(pk=number).order_by("-created_at")[:20]
    before = BottleneckReport.objects.filter(created_at__lt=found.created_at)
    context = {
        **framed(request, f"Report {number}", SLUG),
        "report": found,
        "document": found.document,
        "bottlenecks": [shown(one) for one in found.document["bottlenecks"]],
        "window": times(found.document),
        "others": others,
        "before": before.order_by("-created_at").first(),
    }
    return render(request, "admin/performance/report.html", context)


def compared(request: HttpRequest) -> HttpResponse:
    """Two reports side by side: the older one is `before`, whichever way they are named.

    With `csv` the differences as a file.
    """
    require(request, LOOK)
    numbers = [request.GET.get(name, "") for name in ("before", "after")]
    if not all(one.isdecimal() for one in numbers):
        return HttpResponseBadRequest("Which two reports to compare is missing: before, after.")
    found = sorted(
        (get_object_or_404(BottleneckReport, pk=int(one)) for one in numbers),
        key=lambda one: one.created_at,
    )
    differences = compare(found[0].document, found[1].document)
    if "csv" in request.GET:
        keys = ("label", "before", "after", "unit", "verdict")
        rows = [[getattr(one, key) for key in keys] for one in differences]
        return csv_file("reports-compared", keys, rows)
    context = {
        **framed(request, "Two reports", SLUG),
        "reports": [(one, times(one.document)) for one in found],
        "differences": differences,
    }
    return render(request, "admin/performance/report_compared.html", context)


def exported(request: HttpRequest, number: int) -> HttpResponse:
    """A report as a Markdown file."""
    require(request, LOOK)
    found = get_object_or_404(BottleneckReport, pk=number)
    response = HttpResponse(markdown(found.document), content_type="text/markdown; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="bottlenecks-{number}.md"'
    return response


@require_POST
def ask(request: HttpRequest) -> HttpResponse:
    """Analyse now, over `period`, and show the report."""
    require(request, ACT)
    period = request.POST.get("period", "")
    if period not in WINDOWS:
        raise Http404(f"There is no period {period!r}.")
    user = request.user
    assert user.is_authenticated
    with transaction.atomic():
        found = keep(analyse(WINDOWS[period]), user)
        record(request, "bottlenecks", str(found.pk), f"Asked what limits the service: {period}")
    return redirect("console:report", number=found.pk)


def shown(one: dict[str, Any]) -> dict[str, Any]:
    """A bottleneck with what its template cannot work out."""
    return {**one, "percent": 100 * one["severity"], "changed": changed(one["change"]),
            "url": address(one["target"])}  # fmt: skip


def changed(change: dict[str, Any]) -> str:
    """A setting with what it is and what it should be, empty when none is to be changed."""
    if not change["setting"]:
        return ""
    present, wanted = (figure(change[name], change["unit"]) for name in ("present", "wanted"))
    return f"{change['setting']} {present} → {wanted}"


def times(document: dict[str, Any]) -> str:
    """What a report has looked at."""
    at, begins = (datetime.fromisoformat(document[name]) for name in ("at", "begins"))
    return f"{document['window']}: {begins:%Y-%m-%d %H:%M} to {at:%Y-%m-%d %H:%M} UTC"


def markdown(document: dict[str, Any]) -> str:
    """The whole report, for an issue or a message."""
    lines = ["# What limits the service", "", f"**{plain(document['summary'])}.**", ""]
    lines += [times(document), ""]
    for one in document["bottlenecks"]:
        lines += section(one)
    lines += ["## The service at that time", "", *table(document["figures"]), ""]
    if document["missing"]:
        lines += ["## Not known", "", *(f"- {plain(one)}" for one in document["missing"]), ""]
    return "\n".join(lines)


def section(one: dict[str, Any]) -> list[str]:
    """A bottleneck."""
    change = changed(one["change"])
    lines = [f"## {one['title']} ({one['level']})", ""]
    lines += [
        f"{percent(one['severity'])} of the {one['whose']}' time: {plain(one['reason'])}.",
        "",
    ]
    lines += [f"Change **{plain(change)}**. {plain(one['change']['how'])}"] if change else []
    lines += [] if change else [plain(one["change"]["how"])]
    lines += ["", f"Then: {plain(one['effect'])}", "", f"See {one['guide']}.", ""]
    return [*lines, *table(one["evidence"]), ""]


def table(figures: list[dict[str, Any]]) -> list[str]:
    """Figures with their sources."""
    rows = [
        f"| {one['label']} | {plain(figure(one['value'], one['unit']))} | {one['source']} |"
        for one in figures
    ]
    return ["| | | from |", "|---|---:|---|", *rows]


def plain(text: str) -> str:
    """Text that means nothing to Markdown, on one line: it may come from a host's name or SQL."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in flat)
