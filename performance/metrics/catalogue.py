"""Every metric of ours: what it is called, what it counts, and how processes' values become one.

Nothing here imports Django: the process that answers for all web processes has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Of one metric; what comes after counts as one, so that no metric outgrows whoever scrapes it.
MOST_SERIES = 300
OTHER = "other"

Together = Literal["livesum", "livemax", "livemin", "livemostrecent"]

# Powers of two, for there a place of a recorded histogram begins and nothing is misjudged. Seconds.
FINE = tuple(2.0**power / 1000 for power in range(15))
WIDE = tuple(2.0**power / 1000 for power in range(1, 24, 2))


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as it is scraped, in base units; `about` is its HELP, `labels` are its labels' names.

    A gauge says in `together` what several live processes' values make: a sum, the largest, the
    smallest, or the latest. A histogram has upper bounds, in seconds.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    about: str
    labels: tuple[str, ...] = ()
    together: Together = "livesum"
    bounds: tuple[float, ...] = ()


def counter(name: str, about: str, *labels: str) -> Metric:
    """A number that only grows."""
    return Metric("counter", name, about, labels)


def gauge(name: str, about: str, *labels: str, together: Together = "livesum") -> Metric:
    """A present state."""
    return Metric("gauge", name, about, labels, together=together)


def histogram(name: str, about: str, *labels: str, bounds: tuple[float, ...] = FINE) -> Metric:
    """Durations, spread over bounds."""
    return Metric("histogram", name, about, labels, bounds=bounds)


# What a web process has of its own.
REQUESTS = (
    counter(
        "http_requests_total",
        "Requests answered, by route and class of status.",
        *("method", "route", "status"),
    ),
    histogram(
        "http_request_duration_seconds",
        "Time from a request's arrival to its answer, without what `?wait=` asked to wait.",
        *("method", "route"),
    ),
    gauge("http_requests_per_second", "Requests answered a second, over the last ten."),
)
QUEUE = (
    gauge(
        "job_queue_size",
        "Jobs of the whole fleet that have not ended.",
        "state",
        together="livemostrecent",
    ),
    gauge(
        "job_queue_oldest_seconds",
        "How long that job has been ready that waits longest, in the whole fleet.",
        together="livemostrecent",
    ),
    gauge(
        "job_queue_read_timestamp_seconds",
        "When PostgreSQL was asked for the queue, in Unix time.",
        together="livemostrecent",
    ),
)
# What a worker has of its own.
JOBS = (
    counter("job_attempts_total", "Attempts that have ended.", "outcome"),
    counter("job_errors_total", "Attempts that have failed, by the error's code.", "code"),
    histogram("job_queued_seconds", "Time from ready to claimed.", bounds=WIDE),
    histogram("job_run_seconds", "Time from claimed to stored.", "outcome", bounds=WIDE),
    histogram("fetch_duration_seconds", "Time of fetches, of all hosts.", bounds=WIDE),
    gauge("worker_concurrency", "Scrapes that the worker may run at once."),
    gauge("worker_jobs_running", "Scrapes that run."),
    gauge("worker_jobs_committing", "Outcomes that wait until they are stored."),
)
# What both have.
DATABASE = (
    counter("db_connections_created_total", "Connections opened to PostgreSQL.", "pool"),
    counter("db_connection_errors_total", "Connections that could not be opened.", "pool"),
    gauge("db_connection_pool_size", "Open connections of the pool, used or not.", "pool"),
    gauge("db_connection_pool_max", "Connections that the pool may open.", "pool"),
    gauge("db_connections_in_use", "Connections that somebody holds.", "pool"),
    gauge("db_connections_awaited", "Callers that wait for a connection now.", "pool"),
    histogram(
        "db_connection_wait_seconds",
        "Time from asking for a connection to having one, or giving up.",
        "pool",
    ),
    counter("db_connection_timeouts_total", "Callers that were given no connection.", "pool"),
    counter("db_connections_leaked_total", "Connections found that were not given back."),
    gauge("db_connections_lost", "Connections that are leaked now."),
    histogram("db_query_duration_seconds", "Time of queries by Django's ORM."),
)
VALKEY = (
    gauge("redis_connection_pool_size", "Open connections to Valkey, used or not."),
    gauge("redis_connection_pool_max", "Connections that may be opened."),
    gauge("redis_connections_in_use", "Connections that somebody holds."),
    counter("redis_connection_waits_total", "Callers that had to wait for a connection."),
    counter("redis_connection_wait_seconds_total", "Time that they waited."),
    counter("redis_connection_timeouts_total", "Callers that were given no connection."),
    counter("redis_connections_leaked_total", "Connections found that were not given back."),
    gauge("redis_connections_lost", "Connections that are leaked now."),
    counter("redis_reconnects_total", "Connections that had to be made anew."),
    histogram("redis_call_duration_seconds", "Time of the cache's calls of Valkey."),
)
PROCESSES = (
    gauge("service_processes", "Processes that run.", "role"),
    gauge("memory_usage_bytes", "Resident memory of these processes together."),
    gauge(
        "memory_usage_largest_process_bytes",
        "Resident memory of the largest of them.",
        together="livemax",
    ),
    histogram("event_loop_lag_seconds", "How late the hub or the event loop does what is due."),
    histogram("gc_pause_seconds", "Time that garbage collections took.", "generation"),
    counter("blocking_calls_total", "Calls found that held up all others."),
    counter("errors_total", "Exceptions of requests, and errors that were logged."),
    counter("bottlenecks_detected_total", "Bottlenecks that were found.", "kind"),
    gauge(
        "observer_cost_ratio",
        "Share of a process's work that watching it takes, where it is largest.",
        together="livemax",
    ),
    gauge(
        "observer_sampling_ratio",
        "Share of requests that is looked at in detail, where it is smallest.",
        together="livemin",
    ),
    counter(
        "observer_dropped_messages_total", "Messages about performance that did not get to Valkey."
    ),
    counter("observer_failures_total", "Failures of recorders, which harm nobody.", "recorder"),
)
BOTH = (*DATABASE, *VALKEY, *PROCESSES)
BY_ROLE = {"web": (*REQUESTS, *QUEUE, *BOTH), "worker": (*JOBS, *BOTH)}
