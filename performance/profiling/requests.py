"""Capturing the next requests of a view, with every query: off unless somebody has asked for it.

Which views are wanted is looked up by the observer (`refresh`); while there is none, a request
pays for one look at an empty dictionary. How many were taken is counted in Valkey, for the whole
fleet: when it is away nothing is captured. What was captured is written by the observer, so that
no request waits for that.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.urls import Resolver404, resolve
from django.utils import timezone

from cachelayer.conf import cache_settings
from cachelayer.layer import cache_layer
from cachelayer.remote import Unavailable
from performance.analysis.fingerprint import statement_of
from performance.profiling.asking import PATIENCE, REQUESTS
from performance.recorders.queries import evidence, text_of
from performance.recorders.requests import view_of
from performance.recording.places import lines_of
from performance.recording.rescue import is_unobserved, rescued

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from types import CodeType

    from django.http import HttpRequest, HttpResponse

    from performance.models import Capture

    Respond = Callable[[HttpRequest], HttpResponse]

NAME = "capture"
# Of one request the first are kept whole, the others counted; the more requests a capture may have,
# the fewer of each.
MOST_QUERIES = 500
MOST_OF_CAPTURE = 10_000
# Innermost lines that are kept of each query's stack.
FRAMES = 20
# What has not been written yet; more than any capture takes.
MOST_PENDING = 200
# Seconds for which the count outlives its capture.
COUNT_OUTLIVES = 600


@dataclass(slots=True)
class Wanted:
    """A view whose next requests are wanted: at most so many, until then (monotonic seconds)."""

    capture: int
    most: int
    until: float


@dataclass(slots=True)
class Query:
    """One query: text, when it began, milliseconds, and the lines that asked, innermost first."""

    sql: str
    values: list[Any]
    began: datetime
    milliseconds: float
    lines: list[tuple[CodeType, int]]


@dataclass(slots=True)
class Profile:
    """One request of a capture, the `number`th; a `status` of 0 is one that raised.

    Of its queries the first `most` are kept.
    """

    capture: int
    number: int
    view: str
    method: str
    path: str
    most: int = MOST_QUERIES
    began: datetime = field(default_factory=timezone.now)
    milliseconds: float = 0.0
    status: int = 0
    count: int = 0
    queries: list[Query] = field(default_factory=list)

    def watched(
        self, execute: Callable[..., Any], sql: Any, parameters: Any, many: bool, context: Any
    ) -> Any:
        """Run a statement and note it: a wrapper as Django's connections have them."""
        if is_unobserved():
            return execute(sql, parameters, many, context)
        began, at = perf_counter(), timezone.now()
        try:
            return execute(sql, parameters, many, context)
        finally:
            milliseconds = (perf_counter() - began) * 1000
            with rescued(NAME):
                self._note(sql, None if many else parameters, at, milliseconds)

    def _note(self, sql: Any, parameters: Any, began: datetime, milliseconds: float) -> None:
        self.count += 1
        if len(self.queries) < self.most:
            plain = sql if isinstance(sql, str) else text_of(sql)
            found = evidence(statement_of(plain), sql, parameters)
            lines = lines_of(sys._getframe(2))[:FRAMES]
            values = found.get("parameters", [])
            self.queries.append(Query(found["sql"], values, began, milliseconds, lines))


# By view, as `GET /api/v1/jobs`.
wanted: dict[str, Wanted] = {}
pending: deque[Profile] = deque(maxlen=MOST_PENDING)


def respond(request: HttpRequest, get_response: Respond) -> HttpResponse:
    """The answer, captured if its view is `wanted`; what goes wrong here changes nothing."""
    profile = None
    with rescued(NAME):
        profile = chosen(request)
    if profile is None:
        return get_response(request)
    return captured(profile, request, get_response)


def chosen(request: HttpRequest) -> Profile | None:
    """What to capture a request in; None when nobody wants it."""
    try:
        # The handler does so again, only later.
        request.resolver_match = resolve(request.path_info)
    except Resolver404:
        return None
    view = view_of(request)
    one = wanted.get(view)
    if one is None or monotonic() >= one.until:
        return None
    number = take(one.capture)
    if number is None or number >= one.most:
        wanted.pop(view, None)
    if number is None or number > one.most:
        return None
    most = min(MOST_QUERIES, MOST_OF_CAPTURE // one.most)
    return Profile(one.capture, number, view, request.method or "", request.path, most)


def captured(profile: Profile, request: HttpRequest, get_response: Respond) -> HttpResponse:
    """The answer, with what it took noted in the profile."""
    began = perf_counter()
    try:
        with ExitStack() as stack:
            for alias in connections:
                stack.enter_context(connections[alias].execute_wrapper(profile.watched))
            response = get_response(request)
        profile.status = response.status_code
        return response
    finally:
        profile.milliseconds = (perf_counter() - began) * 1000
        pending.append(profile)


def take(capture: int) -> int | None:
    """The number of the next request of a capture, from 1; None when Valkey is away."""
    key = count_key(capture)
    try:
        number, _ = cache_layer().remote.call(
            ("INCR", key), ("EXPIRE", key, PATIENCE + COUNT_OUTLIVES)
        )
    except Unavailable:
        return None
    return number if isinstance(number, int) else None


def taken(capture: int) -> int:
    """How many requests have come to a capture, beyond its end too. Raises Unavailable."""
    found: Any = cache_layer().remote.call(("GET", count_key(capture)))[0]
    return int(found or 0)


def count_key(capture: int) -> str:
    """Where requests of a capture are counted."""
    return f"{cache_settings().prefix}:performance:capture:{capture}"


def refresh(captures: Iterable[Capture], now: datetime) -> None:
    """From now on want what these captures are about."""
    found = {
        one.target: Wanted(one.pk, one.limits["requests"], monotonic() + left)
        for one in captures
        if one.kind == REQUESTS and (left := (ends_at(one) - now).total_seconds()) > 0
    }
    for view in [view for view in wanted if view not in found]:
        wanted.pop(view, None)
    wanted.update(found)


def ends_at(capture: Capture) -> datetime:
    """When a capture of requests ends, however few came."""
    return capture.asked_at + timedelta(seconds=capture.limits["seconds"])
