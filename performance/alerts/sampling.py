"""Evaluating and telling as parts of every process's observer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from django.db import connections
from django.utils import timezone

from performance.alerts import delivering, evaluating, notices
from performance.recording.rescue import rescued, unobserved

if TYPE_CHECKING:
    from collections.abc import Collection


class AlertsSampler:
    """Takes its turn at evaluating."""

    name = "alerts"
    every = evaluating.EVERY

    def sample(self) -> None:
        """Evaluate, unless another process does."""
        evaluating.take_turn(timezone.now())


class NoticesSampler:
    """Sees to it that what is due is told, in a thread of its own.

    A receiver may take its time to answer, and the observer has other things to do meanwhile.
    """

    name = "notices"
    every = 3.0

    def __init__(self, role: str) -> None:
        """Which channels it can tell depends on the role."""
        self._kinds = delivering.kinds_for(role)
        self._thread: threading.Thread | None = None

    def sample(self) -> None:
        """Begin to tell, if there is anything to tell and that is not being done."""
        if self._thread is not None and self._thread.is_alive():
            return
        if notices.is_due(self._kinds, timezone.now()):
            self._thread = threading.Thread(
                target=tell, args=[self._kinds], name="alerts", daemon=True
            )
            self._thread.start()


def tell(kinds: Collection[str]) -> None:
    """Tell what is due until nothing is; its connection is its own."""
    try:
        with unobserved(), rescued(NoticesSampler.name):
            while delivering.deliver(kinds, timezone.now()):
                pass
    finally:
        connections.close_all()
