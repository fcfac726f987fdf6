"""Requests by view: how many, how long, what they waited for, and how they ended."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.signals import client_waited
from performance.recorders import nplusone
from performance.recording.governor import IN_REQUESTS
from performance.recording.process import buffer, governor
from performance.recording.rescue import failed
from performance.recording.watch import current

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from django.urls import ResolverMatch

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


class Ended(NamedTuple):
    """A request that is answered: what is recorded of it, which is none of what it was sent.

    `path` is without its query, which may hold what is private.
    """

    method: str | None
    match: ResolverMatch | None
    path: str
    status: int
    milliseconds: float
    watch: Watch


def view_of(request: HttpRequest) -> str:
    """Method and route, as `GET /api/v1/jobs/<uuid:job_id>`: as many as there are views."""
    return view_named(request.method, request.resolver_match)


def view_named(method: str | None, match: ResolverMatch | None) -> str:
    """The same, of what a request has of it."""
    method = method if method in METHODS else "OTHER"
    return f"{method} /{match.route}" if match else f"{method} (no view)"


def ended(request: HttpRequest, response: HttpResponseBase, watch: Watch) -> None:
    """A request has: it is recorded soon; what goes wrong here changes nothing."""
    now = perf_counter()
    try:
        milliseconds = (now - watch.started) * 1000 - watch.asked
        match, status = request.resolver_match, response.status_code
        one = Ended(request.method, match, request.path, status, milliseconds, watch)
        # Many wait to be recorded: what they were sent is not kept for that.
        watch.request = None
        buffer.put_off(NAME, record, one)
    except Exception:
        failed(NAME)
    governor.spent += IN_REQUESTS * (perf_counter() - now)


def record(one: Ended) -> None:
    """Count it; when it was looked at, what its time went to, and which queries it repeats."""
    view = view_named(one.method, one.match)
    buffer.record(NAME, view, one.milliseconds)
    buffer.record(ALL, "", one.milliseconds)
    if one.status // 100 != 2:
        buffer.count(f"request.{one.status // 100}xx", view)
    if one.watch.weight:
        record_parts(one, view)
        nplusone.record(view, one.watch)


def record_parts(one: Ended, view: str) -> None:
    """What the time went to; whole, when it is among the slowest of its view."""
    watch = one.watch
    sums = (*parts_of(watch), watch.queries)
    if watch.weight != 1.0:
        sums = tuple(sum * watch.weight for sum in sums)
    buffer.count_parts(TYPES, view, watch.weight, sums)
    if one.milliseconds >= EVIDENCE_FROM and buffer.is_evidence(NAME, view, one.milliseconds):
        buffer.sample(NAME, view, one.milliseconds, evidence(one))


def parts_of(watch: Watch) -> tuple[float, ...]:
    """Milliseconds of each of `PARTS`."""
    return watch.pool, watch.database, watch.cache, watch.render, watch.cpu, max(watch.lag, 0.0)


def evidence(one: Ended) -> dict[str, Any]:
    """A request as plain data."""
    watch = one.watch
    parts = {part: round(took, 2) for part, took in zip(PARTS, parts_of(watch), strict=True)}
    return {
        "path": one.path,
        "status": one.status,
        "queries": watch.queries,
        "parts": parts,
        **{name: note for name, note in watch.notes.items() if isinstance(note, list)},
    }
