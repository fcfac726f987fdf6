"""Starts watching in this process: which samplers it has, and when it digests."""

from __future__ import annotations

import logging
import os
import sys
from functools import cache
from time import sleep, time
from typing import TYPE_CHECKING, NamedTuple

from django.db import connection, transaction
from django.utils import timezone

from cachelayer.conf import cache_settings
from cachelayer.layer import cache_layer
from jobs.signals import attempt_ended, worker_started, worker_stopped
from performance.alerts.sampling import AlertsSampler, NoticesSampler
from performance.analysis.bottlenecks.sampler import BottlenecksSampler
from performance.analysis.findings import FindingsSampler
from performance.analysis.postgresql.rows import OURS
from performance.conf import performance_settings
from performance.metrics.publishing import publish
from performance.models import Deploy
from performance.profiling.sampler import CapturesSampler
from performance.recorders import queue
from performance.recorders.cache import CacheSampler
from performance.recorders.checks import ChecksSampler
from performance.recorders.fetches import Fetches
from performance.recorders.growth import GrowthFinder
from performance.recorders.lag import LagSampler
from performance.recorders.memory import MemorySampler
from performance.recorders.pools import PoolSampler
from performance.recorders.queue import QueueSampler
from performance.recorders.sampling import SamplingSampler
from performance.recorders.statements import StatementsSampler
from performance.recorders.workers import WorkerSampler
from performance.recording.cgroups import cores
from performance.recording.observer import Observer
from performance.recording.process import buffer, governor
from performance.recording.rescue import failures, rescued
from performance.recording.stream import fleet_stream
from performance.revision import revision
from performance.storage.digest import MOST_MESSAGES, STREAM, Digest, age_of
from performance.storage.trimming import MOST, trim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobs.engine.pipeline import Pipeline
    from jobs.engine.worker import Worker
    from performance.recording.observer import Sampler
    from performance.recording.stream import Stream

logger = logging.getLogger(__name__)

# Workers digest, every so many seconds.
DIGEST_EVERY = {"worker": 5.0}
# Web processes only see to it that it goes on without any: when nobody has for two turns of a
# worker, and in pieces of so many messages, for they do so in the hub that requests run in.
DIGEST_EVERY_ELSEWHERE = 15.0
STAND_IN_AFTER = 10.0
PIECE = 50
# In the pieces that a trim removes of each kind; what is left then is removed a minute later.
MOST_PIECES = 20
# Processes of one revision start at the same time.
DEPLOY_LOCK = f"SELECT pg_advisory_xact_lock(hashtext('performance.deploy')){OURS}"


@cache
def stream() -> Stream:
    """The fleet's stream, once a process."""
    return fleet_stream()


class DigestSampler:
    """Takes its turn at digesting."""

    name = "digest"

    def __init__(self, role: str) -> None:
        """How often depends on the role."""
        self.every = DIGEST_EVERY.get(role, DIGEST_EVERY_ELSEWHERE)
        self._stands_in = role not in DIGEST_EVERY
        self._piece = PIECE if self._stands_in else MOST_MESSAGES
        self._digest = Digest(stream())

    def sample(self) -> None:
        """Digest until nothing is left, unless others do."""
        # A moment that is far ahead is none that somebody has digested lately.
        if self._stands_in and abs(age_of(STREAM)) < STAND_IN_AFTER:
            return
        while self._digest.run(self._piece) >= self._piece:
            # Where requests share the thread, it is their turn.
            sleep(0)


class TrimSampler:
    """Takes its turn at removing what is old."""

    name = "trim"
    every = 60.0

    def sample(self) -> None:
        """Remove it in pieces, as long as there are any."""
        for _ in range(MOST_PIECES):
            if trim(timezone.now()) < MOST:
                break


class Failed(NamedTuple):
    """How often a recorder has failed; when it first did, and last (seconds since the epoch)."""

    times: int
    first: float
    last: float


class ProcessSampler:
    """Who this process is, and what watching it costs."""

    name = "process"
    every = 2.0

    def __init__(self, observer: Observer, role: str, metrics_port: int) -> None:
        """It tells of its own observer too, and where its metrics are."""
        self._observer = observer
        self._metrics_port = metrics_port
        self._role = role
        self._started = time()
        self._cores = cores()
        self._is_marked = False
        self._failed: dict[str, Failed] = {}

    def sample(self) -> None:
        """Publish it."""
        if not self._is_marked:
            mark_deploy(revision())
            self._is_marked = True
        governor.adjust()
        buffer.publish(
            self.name,
            {
                "role": self._role,
                "pid": os.getpid(),
                "started": self._started,
                "revision": revision(),
                "python": sys.version.split()[0],
                "cores": self._cores,
                "metrics_port": self._metrics_port,
                "cost": governor.share,
                "rate": governor.rate,
                "dropped": self._observer.dropped,
                "dropped_at": self._observer.dropped_at,
                "failures": dict(failures),
                "failed_at": self._failed_at(),
            },
        )

    def _failed_at(self) -> dict[str, tuple[float, float]]:
        """By recorder, as exact as this is asked often: nobody who fails has to look at a clock."""
        now = time()
        for name, times in dict(failures).items():
            known = self._failed.get(name, Failed(0, now, now))
            if times != known.times:
                self._failed[name] = Failed(times, known.first, now)
        return {name: (one.first, one.last) for name, one in self._failed.items()}


def mark_deploy(revision: str) -> None:
    """Remember when this code came, or came back; its first process does so."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(DEPLOY_LOCK)
        newest = Deploy.objects.order_by("seen_at").values_list("revision", flat=True).last()
        if newest != revision:
            Deploy.objects.create(revision=revision, seen_at=timezone.now())


def connect() -> None:
    """Watch this process's worker as soon as it is ready."""
    worker_started.connect(_watch_worker, dispatch_uid="performance.observing")


def _watch_worker(worker: Worker, pipeline: Pipeline, **_: object) -> None:
    with rescued("observer"):
        itself, fetches = WorkerSampler(worker, pipeline), Fetches()
        observer = start("worker", itself, fetches, report=worker.report)
        if observer is None:
            return
        attempt_ended.connect(queue.ended, weak=False)
        attempt_ended.connect(fetches.ended, weak=False)

        def last_words(**_: object) -> None:
            with rescued("observer"):
                itself.stopped()
                fetches.sample()
                observer.stop()
                observer.tell()

        worker_stopped.connect(last_words, weak=False)


def start(
    role: str,
    *more: Sampler,
    report: Callable[[str], None] = logger.info,
) -> Observer | None:
    """Watch this process from now on; None when PERFORMANCE_ENABLED says no, or it does not work.

    `more` are samplers of what only it has; `report` is where it says who it is.
    """
    if not performance_settings().enabled:
        return None
    with rescued("observer"):
        observer = _observer(role, more, report)
        observer.start()
        return observer
    return None


def _observer(role: str, more: Sequence[Sampler], report: Callable[[str], None]) -> Observer:
    # First: the others may have to wait for a connection, and it tells why.
    samplers: list[Sampler] = [PoolSampler(role)]
    observer = Observer(performance_settings().instance, buffer, stream(), samplers, governor)
    port = 0
    with rescued("metrics"):
        port = publish(observer, samplers, role, report)
    samplers += [ProcessSampler(observer, role, port), ChecksSampler(role), DigestSampler(role)]
    samplers += [QueueSampler(), CacheSampler(cache_layer()), *more]
    samplers += [FindingsSampler(), BottlenecksSampler(), StatementsSampler(), TrimSampler()]
    samplers += [AlertsSampler(), NoticesSampler(role)]
    samplers += [SamplingSampler(cache_layer().remote, governor), *_own_samplers(role)]
    return observer


def _own_samplers(role: str) -> list[Sampler]:
    """Those that look at the process itself; made in the thread that serves."""
    lag = LagSampler(role)
    lag.start()
    key = f"{cache_settings().prefix}:performance:tracing"
    finder = GrowthFinder(cache_layer().remote, key, governor, performance_settings().memory_slope)
    return [lag, MemorySampler(role, finder), CapturesSampler()]
