"""Jobs and batches as everybody outside sees them: in the API's answers and in webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.models import State

if TYPE_CHECKING:
    from uuid import UUID

    from jobs.models import Batch, Job

ROOT = "/api/v1"


def job_links(job_id: UUID) -> dict[str, str]:
    """Where a job and its result are read."""
    path = f"{ROOT}/jobs/{job_id}"
    return {"self": path, "result": f"{path}/result", "timeline": f"{path}/timeline"}


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


def batch_links(batch_id: UUID) -> dict[str, str]:
    """Where a batch, its jobs and its results are read."""
    path = f"{ROOT}/batches/{batch_id}"
    return {"self": path, "jobs": f"{ROOT}/jobs?batch={batch_id}", "results": f"{path}/results"}


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
