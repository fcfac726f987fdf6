"""The console's pages, its cards by themselves for live refresh, and its tables as CSV."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render

from performance.console import overview
from performance.console.pages import CARDS, OVERVIEW, PAGES
from performance.console.rendering import Sorting, deploys, rendered
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope, values

if TYPE_CHECKING:
    from django.http import HttpRequest

PERMISSION = "performance.view_console"


def page(request: HttpRequest, slug: str = "") -> HttpResponse:
    """A page with all its cards."""
    _require_permission(request)
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
        "instances": values("process"),
        "cards": rendered(chosen.cards, scope, sorting, events),
        "tiles": overview.tiles(scope, events) if is_overview else [],
    }
    template = "overview.html" if is_overview else "page.html"
    return render(request, f"admin/performance/{template}", context)


def tiles(request: HttpRequest) -> HttpResponse:
    """All pages in brief, as the overview has them: what its refresh asks for."""
    _require_permission(request)
    scope = _scope(request)
    context = {"scope": scope, "tiles": overview.tiles(scope, deploys(scope))}
    return render(request, "admin/performance/components/tiles.html", context)


def card(request: HttpRequest, name: str) -> HttpResponse:
    """One card, as the page has it: what a refresh and a sorted column ask for."""
    _require_permission(request)
    if name not in CARDS:
        raise Http404(f"The console has no card {name!r}.")
    scope = _scope(request)
    (one,) = rendered([CARDS[name]], scope, _sorting(request), deploys(scope))
    context = {"scope": scope, "one": one}
    return render(request, "admin/performance/components/card.html", context)


def table(request: HttpRequest, name: str, table: str) -> HttpResponse:
    """A card's table as CSV: the columns' keys, then the bare values."""
    _require_permission(request)
    content = CARDS[name].content(_scope(request)) if name in CARDS else None
    found = next((one for one in content.tables if one.name == table), None) if content else None
    if found is None:
        raise Http404(f"The console has no table {name}/{table}.")
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}-{table}.csv"'
    writer = csv.writer(response)
    writer.writerow([column.key for column in found.columns])
    for row in found.rows:
        writer.writerow([_cell(row.cells.get(column.key)) for column in found.columns])
    return response


def _cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula."""
    text = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if text else value


def _require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied("You may not see the performance console.")


def _scope(request: HttpRequest) -> Scope:
    period = PERIODS.get(request.GET.get("period", ""), PERIODS["1h"])
    return Scope(period, request.GET.get("instance", ""))


def _sorting(request: HttpRequest) -> Sorting:
    return Sorting.parse(request.GET.get("sort", ""))
