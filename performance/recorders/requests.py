"""Requests by view: how many, how long, what they waited for, and how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.signals import client_waited
from performance.recording.process import buffer
from performance.recording.watch import current

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from performance.recording.watch import Watch

NAME = "request"
# Those of all views together: few enough to add up quickly for a chart of all.
ALL = "request.all"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
PARTS = ("pool", "database", "cache", "render", "cpu", "lag")
TYPES = (*(f"{NAME}.{part}" for part in PARTS), f"{NAME}.queries")
# Shorter ones are no evidence of anything.
EVIDENCE_FROM = 20.0


def connect() -> None:
    """Hear of waiting that clients want: it is no slowness."""
    client_waited.connect(waited, dispatch_uid="performance.requests")


def waited(seconds: float, **_: object) -> None:
    """Receives `client_waited`."""
    watch = current.get()
    if watch is not None:
        watch.asked += seconds * 1000


def view_of(request: HttpRequest) -> str:
    """Method and route, as `GET /api/v1/jobs/<uuid:job_id>`: as many as there are views."""
    method = request.method if request.method in METHODS else "OTHER"
    match = request.resolver_match
    return f"{method} /{match.route}" if match else f"{method} (no view)"


def record(request: HttpRequest, response: HttpResponseBase, milliseconds: float) -> str:
    """Count a request; returns its view."""
    view = view_of(request)
    buffer.record(NAME, view, milliseconds)
    buffer.record(ALL, "", milliseconds)
    if response.status_code // 100 != 2:
        buffer.count(f"request.{response.status_code // 100}xx", view)
    return view


def record_parts(
    request: HttpRequest, response: HttpResponseBase, view: str, milliseconds: float, watch: Watch
) -> None:
    """What the time went to; whole, when it is among the slowest of its view."""
    sums = (*parts_of(watch), watch.queries)
    if watch.weight != 1.0:
        sums = tuple(sum * watch.weight for sum in sums)
    buffer.count_parts(TYPES, view, watch.weight, sums)
    if milliseconds >= EVIDENCE_FROM and buffer.is_evidence(NAME, view, milliseconds):
        buffer.sample(NAME, view, milliseconds, evidence(request, response, watch))


def parts_of(watch: Watch) -> tuple[float, ...]:
    """Milliseconds of each of `PARTS`."""
    return watch.pool, watch.database, watch.cache, watch.render, watch.cpu, watch.lag


def evidence(request: HttpRequest, response: HttpResponseBase, watch: Watch) -> dict[str, Any]:
    """A request as plain data: the path without its query, which may hold what is private."""
    parts = {part: round(took, 2) for part, took in zip(PARTS, parts_of(watch), strict=True)}
    return {
        "path": request.path,
        "status": response.status_code,
        "queries": watch.queries,
        "parts": parts,
        **{name: note for name, note in watch.notes.items() if isinstance(note, list)},
    }
