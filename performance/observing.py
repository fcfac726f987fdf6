"""Starts watching in this process: which samplers it has, and when it digests."""

from __future__ import annotations

import os
import sys
from functools import cache
from time import time
from typing import TYPE_CHECKING

from cachelayer.conf import cache_settings
from cachelayer.layer import cache_layer
from jobs.signals import worker_started
from performance.conf import performance_settings
from performance.recording.observer import Observer
from performance.recording.process import buffer, governor
from performance.recording.rescue import failures, rescued
from performance.recording.stream import Stream
from performance.storage.digest import MOST_MESSAGES, Digest

if TYPE_CHECKING:
    from performance.recording.observer import Sampler

# Workers digest; web processes only see to it that it goes on without any.
DIGEST_EVERY = {"worker": 5.0}
DIGEST_EVERY_ELSEWHERE = 15.0


@cache
def stream() -> Stream:
    """The fleet's stream, on the cache layer's server."""
    return Stream(cache_layer().remote, cache_settings().prefix)


class DigestSampler:
    """Takes its turn at digesting."""

    name = "digest"

    def __init__(self, role: str) -> None:
        """How often depends on the role."""
        self.every = DIGEST_EVERY.get(role, DIGEST_EVERY_ELSEWHERE)
        self._digest = Digest(stream())

    def sample(self) -> None:
        """Digest until nothing is left."""
        while self._digest.run() >= MOST_MESSAGES:
            pass


class ProcessSampler:
    """Who this process is, and what watching it costs."""

    name = "process"
    every = 2.0

    def __init__(self, observer: Observer, role: str) -> None:
        """It tells of its own observer too."""
        self._observer = observer
        self._role = role
        self._started = time()

    def sample(self) -> None:
        """Publish it."""
        governor.adjust()
        buffer.publish(
            self.name,
            {
                "role": self._role,
                "pid": os.getpid(),
                "started": self._started,
                "python": sys.version.split()[0],
                "cost": governor.share,
                "rate": governor.rate,
                "dropped": self._observer.dropped,
                "failures": dict(failures),
            },
        )


def connect() -> None:
    """Have every recorder told of what it records, and watch workers as soon as they are ready."""
    if performance_settings().enabled:
        worker_started.connect(_watch_worker, dispatch_uid="performance.observing")


def _watch_worker(**_: object) -> None:
    with rescued("observer"):
        start("worker")


def start(role: str) -> Observer | None:
    """Watch this process from now on; None when PERFORMANCE_ENABLED says no."""
    settings = performance_settings()
    if not settings.enabled:
        return None
    samplers: list[Sampler] = []
    observer = Observer(settings.instance, buffer, stream(), samplers)
    samplers += [ProcessSampler(observer, role), DigestSampler(role)]
    observer.start()
    return observer
