"""Models as the documents that the API gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.documents import batch_links, job_links
from jobs.models import State
from jobs.timeline import timeline_of, waits_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from jobs.engine.queue import JobSpec
    from jobs.models import Batch, Job, Result
    from jobs.selectors import JobStatistics

PRUNED = {"code": "result_pruned", "message": "The result is no longer kept."}


def accepted_job(job_id: UUID, url: str, created_at: datetime) -> dict[str, Any]:
    """The answer to a submission."""
    return {
        "id": job_id,
        "status": State.QUEUED.value,
        "url": url,
        "created_at": created_at,
        "links": job_links(job_id),
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
    if job.pruned_at is not None:
        return {"status": job.state, "id": job.id, "url": job.url, "error": PRUNED}
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


def accepted_batch(batch: Batch, specs: Sequence[JobSpec]) -> dict[str, Any]:
    """The answer to the submission of a batch, with the jobs in the order given."""
    return {
        "id": batch.id,
        "total": len(specs),
        "created_at": batch.created_at,
        "jobs": [spec.id for spec in specs],
        "links": batch_links(batch.id),
    }
