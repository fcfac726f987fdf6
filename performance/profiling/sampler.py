"""How a process hears of captures: it looks every two seconds, and does those that are its own."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connections
from django.utils import timezone

from cachelayer.remote import Unavailable
from performance.conf import performance_settings
from performance.models import Capture
from performance.profiling import allocations, cpu, keeping, objects, requests, silk
from performance.profiling.announcing import announced
from performance.profiling.asking import REQUESTS, Refused
from performance.recording.rescue import rescued, unobserved

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from performance.profiling.stacks import Seen

logger = logging.getLogger(__name__)

LOOKS: dict[str, Callable[[int], Seen]] = {
    Capture.Kind.CPU: cpu.look,
    Capture.Kind.ALLOCATIONS: allocations.look,
    Capture.Kind.OBJECTS: objects.look,
}
REMOVE_EVERY = timedelta(minutes=10)
# Without word of a new capture PostgreSQL is asked so often.
ASK_EVERY = timedelta(seconds=30)
VALKEY_AWAY = (
    "Valkey, which counts requests for all processes, was away at its end. Without it nothing is "
    "captured; what was captured before, if anything, is kept. Ask again once it is back."
)
NOTHING = "Nothing was seen: the process was idle. Ask again while it has something to do."


class CapturesSampler:
    """Has this process know which requests are wanted, and look into itself when it is asked to."""

    name = "captures"
    every = 2.0

    def __init__(self) -> None:
        """Nothing is removed at once: processes start together."""
        self._removed_at = timezone.now()
        self._asked_at: datetime | None = None
        self._heard: object = None
        self._has_open = False

    def sample(self) -> None:
        """Write what was captured, learn what is wanted, end what is over."""
        while requests.pending:
            with rescued(requests.NAME):
                silk.write(requests.pending.popleft())
        now = timezone.now()
        if self._is_to_ask(now):
            self._tend(keeping.open_captures(), now)
        if now - self._removed_at > REMOVE_EVERY:
            self._removed_at = now
            keeping.remove_old(now)

    def _is_to_ask(self, now: datetime) -> bool:
        """Whether there may be captures that PostgreSQL knows of."""
        heard = announced()
        is_old = self._asked_at is None or now - self._asked_at >= ASK_EVERY
        if not (self._has_open or is_old or heard != self._heard):
            return False
        self._asked_at, self._heard = now, heard
        return True

    def _tend(self, captures: list[Capture], now: datetime) -> None:
        self._has_open = bool(captures)
        requests.refresh(captures, now)
        for capture in captures:
            if capture.kind == REQUESTS:
                with rescued(self.name):
                    tend(capture, now)
            elif capture.target == performance_settings().instance and keeping.claim(capture):
                threading.Thread(target=do, args=[capture], name="capture", daemon=True).start()
        keeping.fail_gone(captures, now)


def tend(capture: Capture, now: datetime) -> None:
    """Begin a capture of requests, or end it when enough have come, or its time is over."""
    if keeping.claim(capture):
        return
    try:
        number = min(requests.taken(capture.pk), capture.limits["requests"])
    except Unavailable:
        if now >= requests.ends_at(capture):
            keeping.fail(capture.pk, VALKEY_AWAY)
        return
    if number >= capture.limits["requests"] or now >= requests.ends_at(capture):
        keeping.finish(capture.pk, document={"requests": number})


def do(capture: Capture) -> None:
    """Look into this process as a capture asks, and keep what was found, or why nothing was."""
    with rescued(CapturesSampler.name), unobserved():
        try:
            stacks, found = LOOKS[capture.kind](capture.limits["seconds"])
            document = found | {"note": "" if stacks else NOTHING}
            keeping.finish(capture.pk, stacks=stacks, document=document)
        except Refused as refused:
            keeping.fail(capture.pk, str(refused))
        except Exception as error:
            logger.exception("a capture failed")
            keeping.fail(capture.pk, f"It failed: {type(error).__name__}: {error}"[:500])
        finally:
            connections.close_all()
