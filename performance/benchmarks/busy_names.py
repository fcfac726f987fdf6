"""Who and what there is in the busy fleet."""

from __future__ import annotations

from hashlib import blake2b

WEB = [f"web-{number}/{number + 10}" for number in range(4)]
WORKERS = [f"worker-{number}/{number + 20}" for number in range(6)]

PARTS_OF_THE_API = ("jobs", "jobs/<uuid:job_id>", "batches", "schedules", "webhooks", "clients")
ENDS = ("", "/results", "/timeline", "/export")
VIEWS = [
    f"{method} /api/v1/{part}{end}"
    for method in ("GET", "POST")
    for part in PARTS_OF_THE_API
    for end in ENDS
][:40]


def fingerprint(text: str) -> str:
    """As long as those of statements."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


MODELS = ("jobs_job", "jobs_result", "jobs_attempt", "jobs_batch", "jobs_client", "jobs_webhook")
PATTERN = (
    "SELECT a.id, a.state, a.created_at, b.name FROM {} a JOIN {} b ON b.id = a.other_{}_id "
    "WHERE a.client_id = %s AND a.state = %s ORDER BY a.created_at DESC LIMIT %s"
)
SQL = [PATTERN.format(MODELS[number % 6], MODELS[number // 6 % 6], number) for number in range(300)]
QUERIES = [fingerprint(sql) for sql in SQL]
STATEMENTS = [str(number * 7_919_317_553_001) for number in range(1, 101)]
OPERATIONS = ["SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN"]

HOSTS = [f"shop-{number}.example.com" for number in range(500)]
PHASES = ("wait", "dns", "connect", "tls", "first_byte", "download", "parse")
CODES = [
    "timeout", "connection_failed", "http_403", "http_404", "http_429", "http_500", "http_503",
    "robots_denied", "too_large", "empty", "blocked", "tls_failed",
]  # fmt: skip

NAMESPACES = [
    "jobs.job", "jobs.batch", "jobs.client", "jobs.key", "jobs.robots", "jobs.result",
    "jobs.schedule", "jobs.webhook", "jobs.domain", "jobs.limits",
    *(f"views.part-{number}" for number in range(10)),
]  # fmt: skip
# Of all reads of a level, what share is counted so.
COUNTERS = {
    "hits": 0.9, "misses": 0.1, "sets": 0.1, "evictions": 0.02, "invalidations": 0.03,
    "bytes_read": 0.9, "bytes_written": 0.1,
}  # fmt: skip
POOLS = [
    "web PostgreSQL default", "worker PostgreSQL default", "worker PostgreSQL asyncpg",
    "web Valkey default", "worker Valkey default",
]  # fmt: skip
PLACES = [f"jobs/part_{number}.py:work_{number}" for number in range(8)]
ERRORS = [
    f"{kind} jobs/part_{number}.py:work_{number}"
    for kind in ("KeyError", "ValueError", "OperationalError", "TimeoutError")
    for number in range(8)
]
TABLES = [
    f"performance_{name}"
    for name in (
        "aggregate",
        "value",
        "sample",
        "subject",
        "finding",
        "benchmarkrun",
        "alert",
        "deploy",
        "bottleneckreport",
    )
]
