"""Asking for a capture: who may look into what, for how long, and one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.utils import timezone

from performance.models import Capture
from performance.profiling.announcing import announce
from performance.recording.watch import METHODS
from performance.storage.reading import values

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from performance.models import Finding

LONGEST = 60
USUAL = 10
MOST_REQUESTS = 100
USUAL_REQUESTS = 20
# Seconds after which a capture of requests ends, however few came.
PATIENCE = 300
LONGEST_TARGET = 200

REQUESTS = Capture.Kind.REQUESTS
OPEN = (Capture.State.ASKED, Capture.State.RUNNING)


class Refused(Exception):
    """A capture that cannot be had; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a capture: seconds, and of requests their number. Raises Refused."""

    seconds: int = USUAL
    requests: int = 0

    def __post_init__(self) -> None:
        """Check them."""
        longest = PATIENCE if self.requests else LONGEST
        if not 1 <= self.seconds <= longest:
            raise Refused(f"A capture takes 1 to {longest} seconds, not {self.seconds}.")
        if not 0 <= self.requests <= MOST_REQUESTS:
            raise Refused(f"1 to {MOST_REQUESTS} requests are captured, not {self.requests}.")

    @property
    def document(self) -> dict[str, int]:
        """As the model has them."""
        return {"seconds": self.seconds} | ({"requests": self.requests} if self.requests else {})


def ask_process(*, kind: str, instance: str, limits: Limits, user: User) -> Capture:
    """Ask for a look into a process. Raises Refused."""
    if kind not in Capture.Kind.values or kind == REQUESTS:
        raise Refused(f"A process has no capture of the kind {kind!r}.")
    if instance not in values("process"):
        raise Refused(f"No process {instance!r} speaks any more; choose one that does.")
    return _ask(kind, instance, limits, user, None)


def ask_requests(
    *, view: str, user: User, limits: Limits | None = None, finding: Finding | None = None
) -> Capture:
    """Ask for the next requests of a view, as `GET /api/v1/jobs`. Raises Refused."""
    if not is_view(view):
        raise Refused(f"{view!r} is no view: it is a method and a route, as 'GET /api/v1/jobs'.")
    bounds = limits or Limits(PATIENCE, USUAL_REQUESTS)
    return _ask(REQUESTS, view, bounds, user, finding)


def is_view(name: str) -> bool:
    """Whether requests come to it: commands and duties are looked at too, and are none."""
    method, _, route = name.partition(" ")
    return method in METHODS and route.startswith("/") and len(name) <= LONGEST_TARGET


def _ask(kind: str, target: str, limits: Limits, user: User, finding: Finding | None) -> Capture:
    try:
        with transaction.atomic():
            capture = Capture.objects.create(
                kind=kind,
                target=target,
                limits=limits.document,
                asked_by=user,
                asked_at=timezone.now(),
                finding=finding,
            )
    except IntegrityError:
        raise Refused(f"A capture of {target} is under way already; wait for its end.") from None
    announce(capture)
    return capture
