"""Captures: asked for by superusers, on the record; what they have found as flame graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from performance.console.acts import ACT, LOOK, framed, record, require
from performance.console.exporting import csv_file
from performance.models import Capture, Finding
from performance.profiling.asking import (
    OPEN,
    PATIENCE,
    REQUESTS,
    USUAL_REQUESTS,
    Limits,
    Refused,
    ask_process,
    ask_requests,
    is_view,
)
from performance.profiling.flame import MOST_FUNCTIONS, flame, functions
from performance.profiling.silk import queries_of, requests_of
from performance.profiling.stacks import text, unpack

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from performance.profiling.stacks import Stacks

SLUG = "profiles"
LONGEST_FIND = 100


def ask(request: HttpRequest) -> HttpResponse:
    """A POST asks for a capture: `kind` and `target`, with `seconds` or `requests`."""
    user = require_superuser(request)
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        capture = _asked(request, user)
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("console:page", slug=SLUG)
    return _recorded(request, capture)


def _asked(request: HttpRequest, user: User) -> Capture:
    kind, target = request.POST.get("kind", ""), request.POST.get("target", "")
    if kind == REQUESTS:
        limits = Limits(PATIENCE, _number(request, "requests") or USUAL_REQUESTS)
        return ask_requests(view=target, user=user, limits=limits)
    limits = Limits(_number(request, "seconds"))
    return ask_process(kind=kind, instance=target, limits=limits, user=user)


def _number(request: HttpRequest, name: str) -> int:
    value = request.POST.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0


def _recorded(request: HttpRequest, capture: Capture) -> HttpResponse:
    record(request, "capture", str(capture.pk), f"Asked for {capture}: {capture.limits}")
    return redirect("console:capture", pk=capture.pk)


def of_finding(request: HttpRequest, pk: int) -> HttpResponse:
    """A finding with its captures; a POST asks for the next requests of its view."""
    require(request, LOOK)
    finding = get_object_or_404(Finding, pk=pk)
    view = str(finding.document.get("view", ""))
    if request.method == "POST":
        user = require_superuser(request)
        try:
            return _recorded(request, ask_requests(view=view, user=user, finding=finding))
        except Refused as refused:
            messages.error(request, str(refused))
    context = {
        **framed(request, finding.title, SLUG),
        "finding": finding,
        "view": view,
        "may_ask": may_ask(request),
        "is_view": is_view(view),
        "requests": USUAL_REQUESTS,
        "captures": Capture.objects.filter(finding=finding).defer("stacks").order_by("-asked_at"),
    }
    return render(request, "admin/performance/capture_finding.html", context)


def capture(request: HttpRequest, pk: int) -> HttpResponse:
    """One capture; `root` is where its flame graph begins, `find` what is marked in it."""
    require(request, LOOK)
    found = get_object_or_404(Capture.objects.select_related("asked_by", "finding"), pk=pk)
    context: dict[str, Any] = {
        **framed(request, f"Capture {found.pk}", SLUG),
        "capture": found,
        "kind": Capture.Kind(found.kind).label,
        "is_open": found.state in OPEN,
        "is_superuser": _is_superuser(request),
    }
    if found.kind == REQUESTS:
        context |= {"requests": requests_of(found), "queries": queries_of(found)}
    elif found.stacks:
        context |= _drawn(request, found, unpack(bytes(found.stacks)))
    return render(request, "admin/performance/capture.html", context)


def _drawn(request: HttpRequest, found: Capture, stacks: Stacks) -> dict[str, Any]:
    root, find = request.GET.get("root", ""), request.GET.get("find", "")[:LONGEST_FIND]
    known = functions(stacks)
    return {
        "flame": flame(stacks, root=root, find=find),
        "find": find,
        "functions": known[:MOST_FUNCTIONS],
        "left_out": max(len(known) - MOST_FUNCTIONS, 0),
        # What a number in a stack is: samples, or what was allocated.
        "unit": "number" if found.kind == Capture.Kind.CPU else "bytes",
        "here": reverse("console:capture", args=[found.pk]),
    }


def stacks(request: HttpRequest, pk: int) -> HttpResponse:
    """The folded stacks as text, for other tools."""
    require(request, LOOK)
    found = get_object_or_404(Capture, pk=pk)
    if not found.stacks:
        raise Http404(f"Capture {pk} has no stacks.")
    response = HttpResponse(text(unpack(bytes(found.stacks))), content_type="text/plain")
    response["Content-Disposition"] = f'attachment; filename="capture-{pk}.txt"'
    return response


def table(request: HttpRequest, pk: int, table: str) -> HttpResponse:
    """A table of what a capture has found, whole, as CSV: functions, types, requests, queries."""
    require(request, LOOK)
    found = get_object_or_404(Capture, pk=pk)
    keys, rows = _table(found, table)
    if not rows:
        raise Http404(f"Capture {pk} has no {table}.")
    return csv_file(f"capture-{pk}-{table}", keys, rows)


def _table(found: Capture, name: str) -> tuple[list[str], list[Any]]:
    """Its keys and rows; those of a name that there is not are empty."""
    is_of_requests = found.kind == REQUESTS
    if name == "functions" and found.stacks:
        known = functions(unpack(bytes(found.stacks)))
        return ["function", "own", "total"], [(one.name, one.own, one.total) for one in known]
    if name == "types":
        return ["type", "objects"], found.document.get("types", [])
    if name == "requests" and is_of_requests:
        keys = ["start_time", "path", "response__status_code", "time_taken", "num_sql_queries"]
        return keys, list(requests_of(found).values_list(*keys))
    if name == "queries" and is_of_requests:
        keys = ["sql", "count", "milliseconds"]
        return keys, [[one[key] for key in keys] for one in queries_of(found)]
    return [], []


def may_ask(request: HttpRequest) -> bool:
    """Whether the user may have a capture: a superuser who may act in the console."""
    return _is_superuser(request) and request.user.has_perm(ACT)


def require_superuser(request: HttpRequest) -> User:
    """The user. Raises PermissionDenied unless it is a superuser."""
    user = request.user
    if not user.is_authenticated or not may_ask(request):
        raise PermissionDenied("Only superusers may look into processes and requests.")
    return user


def _is_superuser(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_superuser
