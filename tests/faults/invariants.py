"""The invariants I1–I10 as questions to PostgreSQL and the ledgers.

An invariant is a function from `Evidence` to rows that contradict it. `AFTER` holds those that are
asked when the service is idle again, `ALWAYS` those that hold at any moment.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.faults.evidence import Evidence, Violation

if TYPE_CHECKING:
    from collections.abc import Callable

CRASH_CAP = 3
TERMINAL = "('succeeded', 'failed', 'cancelled')"
SHOWN = 10


def acknowledged_jobs_end(evidence: Evidence) -> list[Any]:
    """I1: each exists and is terminal (whoever asks has waited for the bound)."""
    ids = list(evidence.acknowledged)
    return evidence.rows(
        "SELECT asked.id::text, job.state FROM unnest(%s::uuid[]) AS asked (id)"
        " LEFT JOIN jobs_job job ON job.id = asked.id"
        f" WHERE job.state IS NULL OR job.state NOT IN {TERMINAL}",
        ids,
    )


def success_has_one_result(evidence: Evidence) -> list[Any]:
    """I2: succeeded ⇔ a result, which was written once and never changed."""
    return evidence.rows(
        "SELECT job.id::text, job.state, writes.number FROM jobs_job job"
        " LEFT JOIN jobs_result result ON result.job_id = job.id"
        " LEFT JOIN (SELECT job, count(*) AS number FROM faults_results GROUP BY job) writes"
        " ON writes.job = job.id"
        " WHERE (job.state = 'succeeded') <> (result.job_id IS NOT NULL)"
        " OR coalesce(writes.number, 0) <> (job.state = 'succeeded')::int"
    )


def result_is_of_its_page(evidence: Evidence) -> list[Any]:
    """I2: what is stored is what the origin served for that very job."""
    asked = evidence.requests
    return [
        stored
        for stored in evidence.results
        if stored.serial not in asked or asked[stored.serial]["tag"] != stored.tag
    ]


def terminal_states_stay(evidence: Evidence) -> list[Any]:
    """I3: no move out of a terminal state, none twice into one."""
    return evidence.rows(
        "SELECT job::text, array_agg(old || ' to ' || new ORDER BY id) FROM faults_moves"
        f" GROUP BY job HAVING count(*) FILTER (WHERE new IN {TERMINAL}) > 1"
        f" OR bool_or(old IN {TERMINAL})"
    )


def last_claim_commits(evidence: Evidence) -> list[Any]:
    """I4: success was written by the process that claimed last, under the token of that claim."""
    return evidence.rows(
        "SELECT ended.job::text, ended.old_token::text, claim.new_token::text,"
        " ended.session, claim.session"
        " FROM faults_moves ended"
        " CROSS JOIN LATERAL (SELECT new_token, session FROM faults_moves earlier"
        "  WHERE earlier.job = ended.job AND earlier.id < ended.id AND earlier.new = 'running'"
        "  ORDER BY earlier.id DESC LIMIT 1) claim"
        " WHERE ended.new = 'succeeded' AND (ended.old_token, ended.session)"
        " IS DISTINCT FROM (claim.new_token, claim.session)"
    )


def result_is_of_the_last_claim(evidence: Evidence) -> list[Any]:
    """I4: the stored page was fetched by the worker that claimed last, after it had."""
    wrong = []
    for stored in evidence.results:
        request = evidence.requests.get(stored.serial, {"agent": "", "at": 0.0})
        fetcher = evidence.rig.fleet.agents.get(request["agent"])
        if not stored.worker.endswith(f"/{fetcher}") or request["at"] < stored.started_at:
            wrong.append((stored, request))
    return wrong


def attempts_are_bounded(evidence: Evidence) -> list[Any]:
    """I5: attempts ≤ max, each written down once, crashes ≤ cap."""
    return evidence.rows(
        "SELECT job.id::text, job.state, job.attempt, job.max_attempts, done.total, done.lost"
        " FROM jobs_job job CROSS JOIN LATERAL ("
        "  SELECT count(*) AS total, count(*) FILTER (WHERE error_code = 'worker_lost') AS lost"
        "  FROM jobs_attempt WHERE job_id = job.id) done"
        " WHERE job.attempt > job.max_attempts OR done.lost > %s"
        f" OR (job.state IN {TERMINAL} AND done.total <> job.attempt)",
        CRASH_CAP,
    )


def one_live_lease_a_job(evidence: Evidence) -> list[Any]:
    """I6: at most one engine row that is picked and not stale."""
    return evidence.rows(
        "SELECT dedupe_key, array_agg(id) FROM pgqueuer"
        " WHERE status = 'picked' AND heartbeat > now() - make_interval(secs => %s)"
        " GROUP BY dedupe_key HAVING count(*) > 1",
        evidence.lease,
    )


def ends_are_told_of(evidence: Evidence) -> list[Any]:
    """I7: an outbox row for each subscribed endpoint, under one webhook-id however often it was
    sent, and what counts as delivered has arrived."""
    untold = evidence.rows(
        "SELECT job.id::text, endpoint.url FROM jobs_job job"
        " JOIN jobs_webhookendpoint endpoint ON endpoint.client_id = job.client_id"
        "  AND endpoint.is_active AND 'job.' || job.state = ANY (endpoint.events)"
        "  AND endpoint.created_at < job.created_at"
        " WHERE NOT EXISTS (SELECT FROM jobs_delivery delivery"
        "  WHERE delivery.endpoint_id = endpoint.id AND delivery.subject = job.id)"
    )
    # Before the ledger is read: deliveries go on.
    delivered = evidence.rows("SELECT id::text FROM jobs_delivery WHERE status = 'delivered'")
    ids: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in evidence.received:
        ids[entry["name"], json.loads(entry["body"])["data"]["id"]].add(entry["id"])
    told_twice = [(told, sorted(found)) for told, found in ids.items() if len(found) > 1]
    arrived = {entry["id"] for entry in evidence.received}
    return untold + told_twice + [row for row in delivered if row[0] not in arrived]


def one_key_one_job(evidence: Evidence) -> list[Any]:
    """I8: whatever was answered, an idempotency key (a page's tag) has made one job."""
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for job, promise in evidence.acknowledged.items():
        if promise["key"]:
            keys[promise["key"]].add(job)
    promised_twice = [(key, sorted(jobs)) for key, jobs in keys.items() if len(jobs) > 1]
    return promised_twice + evidence.rows(
        "SELECT metadata->>'key', array_agg(id::text) FROM jobs_job"
        " WHERE metadata ? 'key' GROUP BY 1 HAVING count(*) > 1"
    )


def lost_leases_are_found(evidence: Evidence) -> list[Any]:
    """I9: no running job without a heartbeat for longer than a lease and a sweep."""
    return evidence.rows(
        "SELECT job.id::text, job.worker, job.started_at::text FROM jobs_job job"
        " WHERE job.state = 'running' AND job.started_at < now() - make_interval(secs => %s)"
        " AND NOT EXISTS (SELECT FROM pgqueuer lease WHERE lease.dedupe_key = job.id::text"
        "  AND lease.heartbeat > now() - make_interval(secs => %s))",
        *(2 * [evidence.lease + evidence.sweep]),
    )


def nothing_is_held(evidence: Evidence) -> list[Any]:
    """I10: idle means no lease, no batch that has miscounted its jobs, and no session of the
    service that idles with a lock."""
    return evidence.rows(
        "SELECT 'lease', dedupe_key FROM pgqueuer"
        " UNION ALL SELECT 'batch', batch.id::text FROM jobs_batch batch WHERE ended <>"
        f"  (SELECT count(*) FROM jobs_job WHERE batch_id = batch.id AND state IN {TERMINAL})"
        " UNION ALL SELECT 'advisory lock', application_name || ': ' || query FROM pg_locks"
        "  JOIN pg_stat_activity USING (pid)"
        "  WHERE locktype = 'advisory' AND application_name LIKE 'scraper/%' AND state = 'idle'"
        " UNION ALL SELECT state, application_name || ': ' || query FROM pg_stat_activity"
        "  WHERE application_name LIKE 'scraper/%' AND state LIKE 'idle in transaction%'"
        "  AND state_change < now() - interval '1 s'"
    )


ALWAYS: dict[str, Callable[[Evidence], list[Any]]] = {
    "I3": terminal_states_stay,
    "I6": one_live_lease_a_job,
    "I9": lost_leases_are_found,
}
AFTER: dict[str, Callable[[Evidence], list[Any]]] = {
    "I1": acknowledged_jobs_end,
    "I2": success_has_one_result,
    "I2 (page)": result_is_of_its_page,
    "I4": last_claim_commits,
    "I4 (page)": result_is_of_the_last_claim,
    "I5": attempts_are_bounded,
    "I7": ends_are_told_of,
    "I8": one_key_one_job,
    "I10": nothing_is_held,
    **ALWAYS,
}


def violations(
    evidence: Evidence, invariants: dict[str, Callable[[Evidence], list[Any]]]
) -> list[Violation]:
    """Everything that contradicts these invariants."""
    found = []
    for name, contradictions in invariants.items():
        if rows := contradictions(evidence):
            found.append(Violation(name, len(rows), rows[:SHOWN]))
    return found
