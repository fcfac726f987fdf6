"""One session of the database: what it does, whom it waits for, and an end to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.db import DatabaseError
from django.http import Http404, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.utils.dateparse import parse_datetime

from performance.analysis.postgresql import activity
from performance.console.acts import ACT, LOOK, framed, record, require

if TYPE_CHECKING:
    from datetime import datetime

    from django.http import HttpRequest, HttpResponse

    from performance.analysis.postgresql.activity import How

HOWS: dict[str, How] = {"cancel": "cancel", "terminate": "terminate"}
ASKED = {"cancel": "Asked to cancel what it does", "terminate": "Asked to terminate it"}
DONE = {"cancel": "Cancelled what it did", "terminate": "Terminated it"}


def session(request: HttpRequest, pid: int) -> HttpResponse:
    """The session; a POST ends it (`how`), if it is still the one that began at `started`."""
    require(request, LOOK)
    if request.method == "POST":
        return _end(request, pid)
    found = activity.session(pid)
    if found is None:
        raise Http404(f"There is no session {pid} any more.")
    others = activity.sessions()
    context = {
        **framed(request, f"Session {pid}", "database"),
        "session": found,
        "blockers": [one for one in others if one.pid in found.blockers],
        "blocked": [one for one in others if pid in one.blockers],
    }
    return render(request, "admin/performance/session.html", context)


def _end(request: HttpRequest, pid: int) -> HttpResponse:
    require(request, ACT)
    how = HOWS.get(request.POST.get("how", ""))
    started = _moment(request.POST.get("started", ""))
    if how is None or started is None:
        return HttpResponseBadRequest("How to end which session is missing.")
    found = activity.session(pid)
    gone = f"Session {pid} is gone, or none of ours: nothing was done."
    if found is None or not found.is_ours or found.started != started:
        messages.warning(request, gone)
        return redirect("console:page", slug="database")
    # First: a process that dies meanwhile has left a trace.
    text = f"{ASKED[how]}: {found.application}: {found.sql[:500]}"
    record(request, "session", str(pid), text)
    try:
        if activity.end(pid, started, how):
            messages.success(request, f"{DONE[how]}: session {pid}.")
        else:
            messages.warning(request, gone)
    except DatabaseError as error:
        said = str(error).splitlines()[0]
        text = f"PostgreSQL refuses: {said}. Whoever runs session {pid} has to end it."
        messages.warning(request, text)
    return redirect("console:page", slug="database")


def _moment(text: str) -> datetime | None:
    try:
        return parse_datetime(text)
    except ValueError:
        return None
