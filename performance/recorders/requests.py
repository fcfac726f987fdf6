"""Requests by view: how many, how long, what they waited for, and how they ended."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from jobs.signals import client_waited
from performance.recorders import nplusone
from performance.recording.governor import IN_REQUESTS
from performance.recording.process import buffer, catch_up, governor
from performance.recording.rescue import failed
from performance.recording.watch import current, view_named

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from django.urls import ResolverMatch

    from performance.recording.watch import Watch

NAME = "request"
# Those of all views together: few enough to add up quickly for a chart of all.
ALL = "request.all"
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
    """Its view, as soon as Django knows it."""
    return view_named(request.method, request.resolver_match)


def ended(request: HttpRequest, response: HttpResponseBase, watch: Watch) -> None:
    """A request has: it is recorded soon; what goes wrong here changes nothing."""
    now = perf_counter()
    try:
        milliseconds = (now - watch.started) * 1000 - watch.asked
        match, status = request.resolver_match, response.status_code
        buffer.put_off(NAME, record, watch, match, status, milliseconds)
    except Exception:
        failed(NAME)
    governor.spent += IN_REQUESTS * (perf_counter() - now)
    catch_up()


def record(watch: Watch, match: ResolverMatch | None, status: int, milliseconds: float) -> None:
    """Count it; when it was looked at, what its time went to, and which queries it repeats."""
    view = view_named(watch.method, match)
    buffer.record(NAME, view, milliseconds)
    buffer.record(ALL, "", milliseconds)
    if status // 100 != 2:
        buffer.count(f"request.{status // 100}xx", view)
    if watch.weight:
        record_parts(watch, view, status, milliseconds)
        nplusone.record(view, watch)


def record_parts(watch: Watch, view: str, status: int, milliseconds: float) -> None:
    """What the time went to; whole, when it is among the slowest of its view."""
    sums = (*parts_of(watch), watch.queries)
    if watch.weight != 1.0:
        sums = tuple(sum * watch.weight for sum in sums)
    buffer.count_parts(TYPES, view, watch.weight, sums)
    if milliseconds >= EVIDENCE_FROM and buffer.is_evidence(NAME, view, milliseconds):
        buffer.sample(NAME, view, milliseconds, evidence(watch, status))


def parts_of(watch: Watch) -> tuple[float, ...]:
    """Milliseconds of each of `PARTS`."""
    return watch.pool, watch.database, watch.cache, watch.render, watch.cpu, max(watch.lag, 0.0)


def evidence(watch: Watch, status: int) -> dict[str, Any]:
    """A request as plain data: none of what it was sent."""
    parts = {part: round(took, 2) for part, took in zip(PARTS, parts_of(watch), strict=True)}
    return {
        "path": watch.path,
        "status": status,
        "queries": watch.queries,
        "parts": parts,
        **{name: note for name, note in watch.notes.items() if isinstance(note, list)},
    }
