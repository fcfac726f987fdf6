"""The console's pages, its cards by themselves for live refresh, and its tables as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.http import Http404, HttpResponse
from django.shortcuts import render

from performance.console import overview
from performance.console.acts import LOOK, require
from performance.console.exporting import csv_file
from performance.console.pages import CARDS, OVERVIEW, PAGES
from performance.console.rendering import Sorting, deploys, rendered
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope, values

if TYPE_CHECKING:
    from django.http import HttpRequest


def page(request: HttpRequest, slug: str = "") -> HttpResponse:
    """A page with all its cards."""
    require(request, LOOK)
    if slug not in PAGES:
        raise Http404(f"The console has no page {slug!r}.")
    scope, sorting = _scope(request), _sorting(request)
    chosen, events = PAGES[slug], deploys(scope)
    is_overview = chosen is OVERVIEW
    context = {
        **admin.site.each_context(request),
        "scope": scope,
        "title": f"Performance: {chosen.title}",
        "page": chosen,
        "pages": PAGES.values(),
        "periods": PERIODS.values(),
        "instances": _instances(scope),
        # Another period or process keeps the order.
        "sort": request.GET.get("sort", ""),
        "cards": rendered(chosen.cards, scope, sorting, events),
        "tiles": overview.tiles(scope, events) if is_overview else [],
    }
    template = "overview.html" if is_overview else "page.html"
    return render(request, f"admin/performance/{template}", context)


def tiles(request: HttpRequest) -> HttpResponse:
    """All pages in brief, as the overview has them: what its refresh asks for."""
    require(request, LOOK)
    scope = _scope(request)
    context = {"scope": scope, "tiles": overview.tiles(scope, deploys(scope))}
    return render(request, "admin/performance/components/tiles.html", context)


def card(request: HttpRequest, name: str) -> HttpResponse:
    """One card, as the page has it: what a refresh and a sorted column ask for."""
    require(request, LOOK)
    if name not in CARDS:
        raise Http404(f"The console has no card {name!r}.")
    scope = _scope(request)
    (one,) = rendered([CARDS[name]], scope, _sorting(request), deploys(scope))
    context = {"scope": scope, "one": one}
    return render(request, "admin/performance/components/card.html", context)


def table(request: HttpRequest, name: str, table: str) -> HttpResponse:
    """A card's table as CSV: the columns' keys, then the bare values; 503 when it has none."""
    require(request, LOOK)
    if name not in CARDS:
        raise Http404(f"The console has no card {name!r}.")
    (one,) = rendered([CARDS[name]], _scope(request))
    if one.error:
        return HttpResponse(one.error, status=503, content_type="text/plain; charset=utf-8")
    found = next((known for known in one.tables if known.name == table), None)
    if found is None:
        raise Http404(f"The console has no table {name}/{table}.")
    keys = [column.key for column in found.columns]
    rows = [[row.cells.get(key) for key in keys] for row in found.rows]
    return csv_file(f"{name}-{table}", keys, rows)


def _instances(scope: Scope) -> dict[str, str]:
    """The processes to choose from with their labels; what is looked at may be gone."""
    labels = {name: f"{process['role']} {name}" for name, process in values("process").items()}
    if scope.instance:
        labels.setdefault(scope.instance, f"{scope.instance} (gone)")
    return labels


def _scope(request: HttpRequest) -> Scope:
    period = PERIODS.get(request.GET.get("period", ""), PERIODS["1h"])
    return Scope(period, request.GET.get("instance", ""))


def _sorting(request: HttpRequest) -> Sorting:
    return Sorting.parse(request.GET.get("sort", ""))
