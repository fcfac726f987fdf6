"""What a worker is doing: how much of it is in use, and whether it still looks for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from performance.recording.process import buffer

if TYPE_CHECKING:
    from jobs.engine.pipeline import Pipeline
    from jobs.engine.worker import Worker

NAME = "worker"


class WorkerSampler:
    """Asks this process's worker. It runs in another thread, and reads single numbers only."""

    name = NAME
    every = 2.0

    def __init__(self, worker: Worker, pipeline: Pipeline) -> None:
        """The worker, and the pipeline that its jobs run through."""
        self._worker = worker
        self._pipeline = pipeline
        self._has_stopped = False

    def sample(self) -> None:
        """Publish its state, and record its use: of so many places so many are taken."""
        document = self.state()
        buffer.publish(NAME, document)
        buffer.count("worker.use", "", document["concurrency"], document["in_use"])
        buffer.record("worker.silence", "", document["silence"])

    def stopped(self) -> None:
        """Say that it has ended as it was told to, so that nobody misses it."""
        self._has_stopped = True
        self.sample()

    def state(self) -> dict[str, Any]:
        """How it is now, as plain data; `silence` is seconds since it last looked for jobs.

        `in_use` are scrapes that run, `starting` those that have no place yet, `committing` those
        that wait for PostgreSQL; together they are the claims that it holds, `live`.
        """
        worker, live = self._worker, len(self._pipeline.live)
        committing = min(self._pipeline.batcher.pending, live)
        in_use = min(live - committing, worker.concurrency)
        return {
            "concurrency": worker.concurrency,
            "in_use": in_use,
            "starting": live - committing - in_use,
            "committing": committing,
            "live": live,
            "silence": round(worker.pulse.silence, 1),
            "failures": worker.pulse.failures,
            "is_ready": worker.pulse.is_ready,
            "has_stopped": self._has_stopped,
        }
