"""What the busy fleet's processes say of themselves, what was kept whole, and what was found."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from performance.analysis.bottlenecks.analyser import analyse
from performance.analysis.checks import CHECKS
from performance.benchmarks.busy_names import (
    CODES,
    ERRORS,
    HOSTS,
    MODELS,
    OPERATIONS,
    PLACES,
    QUERIES,
    SQL,
    STATEMENTS,
    VIEWS,
    WEB,
    WORKERS,
)
from performance.models import (
    Alert,
    BenchmarkRun,
    BottleneckReport,
    Capture,
    Deploy,
    Finding,
    Kind,
    Sample,
    Severity,
    Subject,
    Value,
)
from performance.recorders.requests import PARTS
from performance.recording.buffer import BAR_STANDS, MOST_SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

MEBIBYTE = 1024 * 1024
HINTS = (
    'Add select_related("client") to the query of Job.',
    "Ask for all rows of jobs_client in one query before the loop: id IN (…).",
)
REPORT = {"bottlenecks": [], "level": "green", "state": "idle", "summary": "Nothing limits."}


def write(now: datetime, most_keys: int | None = None) -> None:
    """All of it, as of that moment, or evidence of so many keys of each type."""
    Value.objects.bulk_create(list(values(now)))
    Subject.objects.bulk_create(list(subjects(now)))
    Sample.objects.bulk_create(list(samples(now, most_keys)), batch_size=1_000)
    Finding.objects.bulk_create(list(findings(now)))
    Alert.objects.bulk_create(list(alerts(now)))
    BenchmarkRun.objects.bulk_create(list(runs(now)))
    Deploy.objects.bulk_create(
        Deploy(revision=f"{number:07x}", seen_at=now - timedelta(hours=number * 7 + 0.4))
        for number in range(20)
    )
    BottleneckReport.objects.bulk_create(
        BottleneckReport(
            created_at=now - timedelta(hours=number), period="10m", limiter="", document=REPORT
        )
        for number in range(50)
    )
    Capture.objects.bulk_create(list(captures(now)))
    # Of all that is there by now.
    told = analyse().document()
    Value.objects.create(type="bottlenecks", instance=WEB[0], document=told, updated_at=now)


def speak() -> None:
    """Every process has just spoken again: who is silent for half a minute is gone."""
    Value.objects.update(updated_at=timezone.now())


def values(now: datetime) -> Iterator[Value]:
    """The present state of every process."""
    for role, instances in (("web", WEB), ("worker", WORKERS)):
        for number, instance in enumerate(instances):
            for type, document in states(role, number, now).items():
                yield Value(type=type, instance=instance, document=document, updated_at=now)


def states(role: str, number: int, now: datetime) -> dict[str, dict[str, Any]]:
    """The documents of one process by type."""
    found: dict[str, dict[str, Any]] = {
        "process": {
            "role": role, "pid": number + 10, "started": now.timestamp() - 40_000,
            "revision": "0000000", "python": "3.13.1", "metrics_port": 9100, "cost": 0.021,
            "rate": 1.0, "dropped": 0, "dropped_at": None, "failures": {},
        },
        "pools": {"role": role, "pools": [pool(role, number)], "held": []},
        "memory": memory(number),
        "lag": {"p50": 0.2, "p99": 4.0 + number, "max": 30.0, "requests": 3},
        "cache": {
            "bytes": 20 * MEBIBYTE, "entries": 9_000, "most_bytes": 64 * MEBIBYTE,
            "breaker": "closed", "opened": 0, "refused": 0, "owes": False,
        },
        "checks": {"role": role, "found": {one.name: "" for one in CHECKS if role in one.roles}},
    }  # fmt: skip
    if role == "worker":
        found["worker"] = {
            "concurrency": 100, "in_use": 60 + number, "starting": 2, "committing": 4,
            "live": 66 + number, "silence": 0.4, "failures": 0, "is_ready": True,
            "has_stopped": False,
        }  # fmt: skip
    if role == "web" and number == 0:
        found["queue"] = {
            "at": now.timestamp(), "ready": 2_143, "oldest": 21.0, "held": 400, "running": 390,
            "ready_by_priority": {"high": 43, "normal": 1_800, "low": 300},
            "held_by_reason": {"scheduled": 300, "retry": 100}, "overdue": 0, "longest": 12.0,
            "dead_letters": 3, "is_estimated": False,
            "ended": {"succeeded": 3_000_000, "failed": 40_000, "cancelled": 1_000},
        }  # fmt: skip
    return found


def pool(role: str, number: int) -> dict[str, Any]:
    """A pool of Django's."""
    return {
        "key": f"{role} PostgreSQL default", "name": "PostgreSQL default", "used": 1 + number % 3,
        "size": 4, "max": 10, "min": 1, "waiting": 0, "requests": 500_000, "queued": 120,
        "queued_ms": 900, "refused": 0, "opened": 40, "opening_ms": 600, "opening_failed": 0,
        "lost": 0, "bad": 0, "lifetime": 1800,
    }  # fmt: skip


def memory(number: int) -> dict[str, Any]:
    """What a process has."""
    return {
        "rss": (150 + 5 * number) * MEBIBYTE, "pss": 120 * MEBIBYTE, "uss": 100 * MEBIBYTE,
        "slope": 0.4 * MEBIBYTE, "limit": 512 * MEBIBYTE, "used": 300 * MEBIBYTE,
        "blocks": 900_000, "frozen": 210_000,
        "counts": [300, 4, 2], "thresholds": [700, 10, 10], "collections": [40_000, 3_000, 90],
        "uncollectable": 0, "collecting": 12.0, "tracing": False, "cpu": 35.0 + number,
        "threads": 5, "files": 60,
    }  # fmt: skip


def subjects(now: datetime) -> Iterator[Subject]:
    """What keys stand for."""
    for number, (key, sql) in enumerate(zip(QUERIES, SQL, strict=True)):
        place = {"file": f"jobs/part_{number % 8}.py", "line": number, "function": "find"}
        document = {
            "sql": sql,
            "tables": [MODELS[number % 6]],
            "operation": OPERATIONS[0],
            **place,
        }
        yield Subject(type="query", key=key, document=document, seen_at=now)
    for key, sql in zip(STATEMENTS, SQL, strict=False):
        yield Subject(type="statement", key=key, document={"sql": sql}, seen_at=now)
    for place_of_call in PLACES:
        document = {"role": "web", "file": "", "line": None, "stack": [place_of_call] * 6}
        yield Subject(type="blocking_call", key=place_of_call, document=document, seen_at=now)


def samples(now: datetime, most_keys: int | None = None) -> Iterator[Sample]:
    """Evidence of seven days, as much of each key an hour as is left of it."""
    parts = dict.fromkeys(PARTS, 40.0)
    lately = [BAR_STANDS * number for number in range(12)]
    before = [3600.0 * hours for hours in range(1, 168)]
    for nth, ago in product(range(MOST_SAMPLES), lately + before):
        at = now - timedelta(seconds=ago + nth)
        for number, view in enumerate(VIEWS[:most_keys]):
            document = {"path": "/api/v1/jobs", "status": 200, "queries": 7, "parts": parts}
            value = 100.0 + number * 13 % 700
            yield sample("request", view, WEB[(number + nth) % 4], value, at, document)
        for number in range(0, 300, 10)[:most_keys]:
            document = {"sql": SQL[number], "parameters": [1, 2, 3], "view": VIEWS[number % 40]}
            place = {"file": "jobs/part.py", "line": number}
            value = 30.0 + number * 7 % 900
            yield sample(
                "query", QUERIES[number], WEB[number % 4], value, at, {**document, **place}
            )
        for number, key in enumerate(ERRORS[:8][:most_keys]):
            document = {"message": CODES[number], "view": VIEWS[number], "stack": PLACES}
            yield sample("error", key, WEB[number % 4], at.timestamp(), at, document)


def sample(
    type: str, key: str, instance: str, value: float, at: datetime, document: dict[str, Any]
) -> Sample:
    """One of them."""
    return Sample(
        type=type, key=key, instance=instance, value=value, recorded_at=at, document=document
    )


def findings(now: datetime) -> Iterator[Finding]:
    """Faults of all kinds, in all states."""
    kinds = list(Kind)
    for number in range(60):
        kind = Kind.N_PLUS_ONE if number < 30 else kinds[number % len(kinds)]
        where = {"file": f"jobs/part_{number % 8}.py", "line": number, "function": "Lists.find_all"}
        document = {
            "view": VIEWS[number % 40], "hint": HINTS[number % len(HINTS)], "queries": 40,
            "sql": SQL[number], "source": SQL[number + 60], "also": [], **where,
        }  # fmt: skip
        yield Finding(
            kind=kind,
            key=f"{number:040x}",
            title=f"{kind.label} at jobs/part_{number % 8}.py:{number}",
            document=document,
            first_seen_at=now - timedelta(days=6),
            last_seen_at=now - timedelta(minutes=number * 30),
            sightings=1_000,
            wasted=90_000 / (number + 1),
            resolved_at=now if number % 3 == 2 else None,
        )


def captures(now: datetime) -> Iterator[Capture]:
    """Some of each kind, done."""
    kinds = list(Capture.Kind)
    for number in range(40):
        yield Capture(
            kind=kinds[number % len(kinds)], target=WEB[number % 4], state=Capture.State.DONE,
            limits={"seconds": 30}, asked_at=now - timedelta(hours=number),
            ended_at=now - timedelta(hours=number),
        )  # fmt: skip


def alerts(now: datetime) -> Iterator[Alert]:
    """A few that have ended, and one that fires."""
    for number in range(40):
        began = now - timedelta(hours=4 * number)
        yield Alert(
            rule="queue_age", key=HOSTS[number], severity=Severity.TICKET, reason="it waits",
            value=90, threshold=60, runbook="queue-age", started_at=began, last_seen_at=began,
            state="resolved" if number else "firing", resolved_at=began if number else None,
        )  # fmt: skip


def runs(now: datetime) -> Iterator[BenchmarkRun]:
    """Each benchmark, twice a day."""
    machine = {"cpu": "a processor", "cores": 8, "memory": 16 * 1024 * MEBIBYTE, "python": "3.13"}
    for number in range(60):
        ratio = 0.85 + number % 7 / 50
        row = {"metric": "ratio", "value": ratio, "unit": "×", "goal": "≥ 0.85", "met": True}
        yield BenchmarkRun(
            name=("throughput", "cache", "backlog", "observer")[number % 4],
            revision=f"{number:07x}", machine=machine, rows=[row] * 9, is_met=True, seconds=90,
            finished_at=now - timedelta(hours=3 * number),
        )  # fmt: skip
