"""Models as the documents that the API gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.models import State
from jobs.timeline import timeline_of, waits_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from jobs.engine.queue import JobSpec
    from jobs.models import Batch, Job, Result
    from jobs.selectors import JobStatistics

ROOT = "/api/v1"


def job_links(job_id: UUID) -> dict[str, str]:
    """Where a job and its result are read."""
    path = f"{ROOT}/jobs/{job_id}"
    return {"self": path, "result": f"{path}/result", "timeline": f"{path}/timeline"}


def accepted_job(job_id: UUID, url: str, created_at: datetime) -> dict[str, Any]:
    """The answer to a submission."""
    return {
        "id": job_id,
        "status": State.QUEUED.value,
        "url": url,
        "created_at": created_at,
        "links": job_links(job_id),
    }


def job_document(job: Job) -> dict[str, Any]:
    """A job as it stands."""
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    return {
        "id": job.id,
        "status": job.state,
        "url": job.url,
        "created_at": job.created_at,
        "run_at": job.run_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "hold": job.hold or None,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "error": error,
        "metadata": job.metadata,
        "retry_of": job.retry_of,
        "schedule": job.schedule_id,
        "links": job_links(job.id),
    }


def result_document(job: Job, result: Result) -> dict[str, Any]:
    """What a job found, with a key for each format it asked for."""
    return {
        "id": job.id,
        "url": job.url,
        "final_url": result.final_url,
        "status_code": result.status_code,
        "fetched_at": result.fetched_at,
        **{name: getattr(result, name) for name in job.formats},
    }


def outcome_line(job: Job) -> dict[str, Any]:
    """A finished job in a stream of results: its result, or why there is none."""
    if job.state == State.SUCCEEDED:
        return {"status": job.state, **result_document(job, job.result)}
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    return {"status": job.state, "id": job.id, "url": job.url, "error": error}


def statistics_document(
    statistics: JobStatistics, *, as_of: datetime, span: tuple[datetime, datetime]
) -> dict[str, Any]:
    """What became of the jobs of a span of time."""
    return {
        "as_of": as_of,
        "created_after": span[0],
        "created_before": span[1],
        "total": sum(statistics.states.values()),
        "counts": statistics.states,
        "errors": statistics.errors,
        "running_seconds": _percentiles(statistics.running),
        "total_seconds": _percentiles(statistics.total),
    }


def _percentiles(seconds: list[float] | None) -> dict[str, float] | None:
    return None if seconds is None else dict(zip(("p50", "p95"), seconds, strict=True))


def timeline_document(job: Job) -> dict[str, Any]:
    """What a job has been through, and what it waits for now."""
    return {
        "id": job.id,
        "status": job.state,
        "waits_for": waits_for(job),
        "events": [
            {"at": event.at, "event": event.name, **event.details} for event in timeline_of(job)
        ],
    }


def batch_links(batch_id: UUID) -> dict[str, str]:
    """Where a batch, its jobs and its results are read."""
    path = f"{ROOT}/batches/{batch_id}"
    return {"self": path, "jobs": f"{ROOT}/jobs?batch={batch_id}", "results": f"{path}/results"}


def accepted_batch(batch: Batch, specs: Sequence[JobSpec]) -> dict[str, Any]:
    """The answer to the submission of a batch, with the jobs in the order given."""
    return {
        "id": batch.id,
        "total": len(specs),
        "created_at": batch.created_at,
        "jobs": [spec.id for spec in specs],
        "links": batch_links(batch.id),
    }


def batch_document(batch: Batch, counts: dict[str, int]) -> dict[str, Any]:
    """A batch as it stands."""
    unfinished = counts[State.QUEUED] + counts[State.RUNNING]
    return {
        "id": batch.id,
        "status": "running" if unfinished else "completed",
        "total": batch.total,
        "counts": counts,
        "created_at": batch.created_at,
        "metadata": batch.metadata,
        "links": batch_links(batch.id),
    }
