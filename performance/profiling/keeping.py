"""What becomes of captures: claimed once, ended once, given up when nobody does them, removed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.utils import timezone
from silk.models import Request

from performance.models import Capture
from performance.profiling.asking import OPEN, REQUESTS
from performance.profiling.stacks import Stacks, pack
from performance.storage.reading import values
from performance.storage.statements import TRY_LOCK_TRIM

if TYPE_CHECKING:
    from datetime import datetime

# A process that has not spoken for so long is gone.
GONE_AFTER = timedelta(minutes=1)
# What a capture may take beyond its seconds, for starting and for reading what it found.
OVERHEAD = timedelta(minutes=2)
REQUESTS_KEPT_FOR = timedelta(days=7)

GONE = "The process ended, or did not answer for a minute. Choose one that runs, and ask again."
LATE = "It took too long and was given up. Ask again, for fewer seconds."


def open_captures() -> list[Capture]:
    """Those that are asked for or running, of the whole fleet."""
    fields = ("kind", "target", "state", "limits", "asked_at")
    return list(Capture.objects.filter(state__in=OPEN).only(*fields).order_by("pk"))


def claim(capture: Capture) -> bool:
    """Take a capture on; False when another process has."""
    if capture.state != Capture.State.ASKED:
        return False
    asked = Capture.objects.filter(pk=capture.pk, state=Capture.State.ASKED)
    return asked.update(state=Capture.State.RUNNING) == 1


def finish(pk: int, *, stacks: Stacks | None = None, document: dict[str, Any]) -> None:
    """End a capture that is open with what it has found."""
    Capture.objects.filter(pk=pk, state__in=OPEN).update(
        state=Capture.State.DONE,
        stacks=pack(stacks) if stacks else b"",
        document=document,
        ended_at=timezone.now(),
    )


def fail(pk: int, error: str) -> None:
    """End a capture that is open with why it found nothing."""
    Capture.objects.filter(pk=pk, state__in=OPEN).update(
        state=Capture.State.FAILED, error=error, ended_at=timezone.now()
    )


def fail_gone(captures: list[Capture], now: datetime) -> None:
    """Give up those of processes that are gone or take far too long."""
    old = [one for one in captures if one.kind != REQUESTS and now - one.asked_at >= GONE_AFTER]
    alive = values("process", within=GONE_AFTER) if old else {}
    # When nobody speaks, what they say does not arrive: who is gone cannot be told.
    is_told = bool(values("process")) if old else False
    for one in old:
        if is_told and one.target not in alive:
            fail(one.pk, GONE)
        elif now > one.asked_at + timedelta(seconds=one.limits["seconds"]) + OVERHEAD:
            fail(one.pk, LATE)


def remove_old(now: datetime, most: int = 5) -> int:
    """Remove at most so many old requests in silk's tables; returns how many.

    Nothing while another process removes what is old. They are few, for each has hundreds of rows,
    which Django reads before it removes them. silk itself would do that by lottery, in requests.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TRY_LOCK_TRIM)
        if not cursor.fetchone()[0]:
            return 0
        old = Request.objects.filter(start_time__lt=now - REQUESTS_KEPT_FOR)
        keys = list(old.order_by("start_time").values_list("pk", flat=True)[:most])
        Request.objects.filter(pk__in=keys).delete()
        return len(keys)
