"""What a job has been through, and what it waits for now."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from jobs.conf import job_settings
from jobs.models import Attempt, Domain, Hold, Job, Pause, State

if TYPE_CHECKING:
    from datetime import datetime

    from jobs.models import Client

# In the order in which they happen; in milliseconds on every attempt that got so far.
PHASES = (
    *("slot", "robots", "wait", "dns", "connect", "tls", "first_byte", "download"),
    *("turn", "parse", "commit"),
)

# Milliseconds; what is shorter is the way from one statement to the next.
SHORTEST_HOLD = 50


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a moment; `details` depend on `name`."""

    at: datetime
    name: str
    details: dict[str, Any] = field(default_factory=dict)


def timeline_of(job: Job) -> list[Event]:
    """A job's story, oldest first; what has a duration carries it as `milliseconds`."""
    attempts = list(Attempt.objects.filter(job=job).order_by("number"))
    events = [Event(job.created_at, "accepted")]
    for attempt in attempts:
        events += held(job, attempt, since=events[-1].at)
        events += [claimed(attempt), ended(attempt)]
    if job.state == State.RUNNING and job.started_at:
        events.append(
            Event(job.started_at, "claimed", {"attempt": job.attempt, "worker": job.worker})
        )
    if job.finished_at:
        events.append(Event(job.finished_at, str(job.state)))
    if job.pruned_at:
        events.append(Event(job.pruned_at, "result_pruned"))
    return events


def held(job: Job, attempt: Attempt, *, since: datetime) -> list[Event]:
    """The end of a wait that a time ended, if there was one: before it nobody could claim the job.

    It was ready for as long as the attempt says that it was queued, and held before that.
    """
    if "queued" not in attempt.phases:
        return []
    ready_at = attempt.started_at - timedelta(milliseconds=attempt.phases["queued"])
    milliseconds = 1000 * (ready_at - since).total_seconds()
    if milliseconds < SHORTEST_HOLD:
        return []
    reason = Hold.OFF_PEAK if job.off_peak else Hold.SCHEDULED
    reason = Hold.RETRY if attempt.number > 1 else reason
    return [Event(ready_at, "ready", {"waited_for": reason, "milliseconds": milliseconds})]


def claimed(attempt: Attempt) -> Event:
    """The begin of an attempt, with how long the job was ready before, and what it waited for."""
    details = {"attempt": attempt.number, "worker": attempt.worker}
    if "queued" in attempt.phases:
        details |= {
            "waited_for": attempt.phases.get("queued_for"),
            "milliseconds": attempt.phases["queued"],
        }
    return Event(attempt.started_at, "claimed", details)


def ended(attempt: Attempt) -> Event:
    """The end of an attempt, with the milliseconds of each phase that it got to."""
    phases = {name: attempt.phases[name] for name in PHASES if name in attempt.phases}
    took = 1000 * (attempt.finished_at - attempt.started_at).total_seconds()
    details: dict[str, Any] = {"attempt": attempt.number, "milliseconds": took, "phases": phases}
    if attempt.error_code:
        details["error"] = {"code": attempt.error_code, "message": attempt.error_message}
    return Event(attempt.finished_at, "attempt_ended", details)


def waits_for(job: Job) -> dict[str, Any] | None:
    """What keeps a queued job from running now; None when it is not queued.

    `reason` is scheduled, retry, off_peak, paused, domain, quota or workers; `until` a moment, if
    known.
    """
    if job.state != State.QUEUED:
        return None
    if job.hold != Hold.NONE:
        return {"reason": job.hold, "until": job.run_at}
    if Pause.objects.exists():
        return {"reason": "paused", "until": None}
    return _waits_for_others(job)


def _waits_for_others(job: Job) -> dict[str, Any]:
    domain = Domain.objects.filter(host=job.host).first()
    if domain and domain.next_at > timezone.now():
        return {"reason": "domain", "until": domain.next_at}
    if _is_full({"host": job.host}, limit=_domain_limit(domain)):
        return {"reason": "domain", "until": None}
    if _is_full({"client": job.client_id}, limit=_client_limit(job.client)):
        return {"reason": "quota", "until": None}
    return {"reason": "workers", "until": None}


def _domain_limit(domain: Domain | None) -> int | None:
    """None is no limit. As for `jobs_claim`, staff's 0 lets nothing run, the setting's is none."""
    limit = None if domain is None else domain.concurrency
    return job_settings().domain_concurrency or None if limit is None else limit


def _client_limit(client: Client) -> int | None:
    limit = client.max_running
    return job_settings().client_concurrency or None if limit is None else limit


def _is_full(jobs: dict[str, Any], *, limit: int | None) -> bool:
    """Whether as many of these jobs run as may."""
    return limit is not None and Job.objects.filter(**jobs, state=State.RUNNING).count() >= limit
