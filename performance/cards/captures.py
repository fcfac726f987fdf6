"""Captures: deep looks into a process or at the requests of a view, to ask for and to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse

from performance.cards.shapes import Column, Content, Level, Row, Table
from performance.models import Capture
from performance.profiling.asking import LONGEST, MOST_REQUESTS, REQUESTS, USUAL, USUAL_REQUESTS
from performance.storage.reading import largest, values

if TYPE_CHECKING:
    from performance.storage.reading import Scope

MOST = 50
LEVELS = {Capture.State.FAILED: Level.YELLOW}
COLUMNS = (
    Column("asked_at", "Asked", "time"),
    Column("kind", "What"),
    Column("target", "Of", "code"),
    Column("state", "State"),
    Column("asked_by", "By"),
    Column("limits", "Limits"),
    Column("ended_at", "Ended", "time"),
    Column("error", "Why not"),
)


class CapturesCard:
    """The latest captures, and the way to new ones."""

    name = "captures"
    title = "Captures"
    template = "admin/performance/captures.html"

    def content(self, scope: Scope) -> Content:
        """Whatever the window; of one process when the scope is one."""
        if scope.is_brief:
            return Content()
        found = Capture.objects.select_related("asked_by").defer("stacks", "document")
        if scope.instance:
            found = found.filter(target=scope.instance)
        rows = [row(capture) for capture in found.order_by("-asked_at")[:MOST]]
        empty = "Nobody has asked for one. Choose a process or a view above; superusers may."
        return Content(
            tables=[Table("captures", "Latest", COLUMNS, rows, empty)],
            note="A capture ends by itself. While none runs it costs nothing.",
            extra=choices(scope),
        )


def row(capture: Capture) -> Row:
    """A capture, with the way to what it has found."""
    cells: dict[str, Any] = {
        "asked_at": capture.asked_at,
        "kind": Capture.Kind(capture.kind).label,
        "target": capture.target,
        "state": capture.state,
        "asked_by": capture.asked_by.get_username() if capture.asked_by else None,
        "limits": limits_text(capture.limits),
        "ended_at": capture.ended_at,
        "error": capture.error or None,
    }
    url = reverse("console:capture", args=[capture.pk])
    level = LEVELS.get(Capture.State(capture.state), Level.GREEN)
    return Row(cells, url, level)


def limits_text(limits: dict[str, int]) -> str:
    """What bounds a capture."""
    number, seconds = limits.get("requests"), f"{limits['seconds']} s"
    return f"{number} requests or {seconds}" if number else seconds


def choices(scope: Scope) -> dict[str, Any]:
    """What there is to ask for."""
    return {
        "kinds": [kind for kind in Capture.Kind.choices if kind[0] != REQUESTS],
        "processes": values("process"),
        "views": [line.key for line in largest("request", scope, order="count")],
        "seconds": USUAL,
        "most_seconds": LONGEST,
        "requests": USUAL_REQUESTS,
        "most_requests": MOST_REQUESTS,
    }
