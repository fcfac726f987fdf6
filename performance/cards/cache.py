"""The cache: what both levels save, what they cannot, and whether level 2 is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cachelayer.warming import warmers
from performance.actions.caching import Clear, Warm
from performance.cards.lately import FINEST, MINUTES, counted, counts, percentiles
from performance.cards.shapes import (
    Chart,
    Column,
    Content,
    Fact,
    Health,
    Level,
    Line,
    Row,
    Table,
    shown,
)
from performance.recorders.cache import COUNTED, NAME, SIZED
from performance.storage.reading import moments, samples, series, total, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from performance.cards.lately import Counted
    from performance.storage.reading import Point, Scope, Summary

LEVELS = {"local": "level 1", "remote": "level 2"}
# Fewer reads a bucket say nothing about a ratio.
ENOUGH = 50
# Per cent that the hit ratio of the last minutes may be below that of the hour.
COLLAPSE = 30.0
# Who is silent may have lost level 2: what processes say comes by Valkey.
UNHEARD = Health(Level.YELLOW, "no process tells of its cache")
EVERY, BEFORE, NOW = slice(None), slice(None, -MINUTES - 1), slice(-MINUTES - 1, None)
FAULTS = ("errors", "corrupt", "too_large")
COUNTERS = (*(f"{level}.{name}" for level in LEVELS for name in (*COUNTED, *SIZED)), "local.loads")
# What the facts need.
BRIEFLY = (*(f"{level}.hits" for level in LEVELS), "local.loads")

COLUMNS = (
    Column("namespace", "Namespace", "code"),
    Column("level", "Level"),
    Column("reads", "Reads", "number"),
    Column("ratio", "Hit ratio", "percent"),
    Column("hits", "Hits", "number"),
    Column("misses", "Misses", "number"),
    Column("stale", "Stale", "number"),
    Column("evictions", "Evictions", "number"),
    Column("invalidations", "Invalidations", "number"),
    Column("errors", "Errors", "number"),
    Column("read", "Read", "bytes"),
    Column("written", "Written", "bytes"),
)
LOADS = (
    Column("namespace", "Namespace", "code"),
    Column("loads", "Loads", "number"),
    Column("again", "Of them again", "number"),
    Column("mean", "Mean load", "ms"),
    Column("loading", "Spent loading", "ms"),
    Column("hits", "Hits of both levels", "number"),
    Column("saved", "Saved", "ms"),
    Column("waits", "Waited for another's load", "number"),
)
PROCESSES = (
    Column("process", "Process", "code"),
    Column("bytes", "Level 1", "bytes"),
    Column("entries", "Entries", "number"),
    Column("filled", "Filled", "percent"),
    Column("breaker", "Breaker"),
    Column("opened", "Times opened", "number"),
    Column("refused", "Refused by it", "number"),
    Column("owes", "Owes deletions"),
)
EVENTS = (
    Column("at", "When", "time"),
    Column("state", "Breaker became"),
    Column("process", "Process", "code"),
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted, by counter (as `local.hits`) and namespace."""

    found: Counted

    def number(self, counter: str, namespace: str) -> float:
        """How many."""
        return self.found.get((f"{NAME}.{counter}", namespace), (0.0, 0.0))[0]

    def sum(self, counter: str, namespace: str) -> float:
        """What they add up to."""
        return self.found.get((f"{NAME}.{counter}", namespace), (0.0, 0.0))[1]

    @property
    def namespaces(self) -> list[str]:
        """All of which anything is known."""
        return sorted({namespace for _, namespace in self.found})


@dataclass(frozen=True, slots=True)
class Reads:
    """Hits and misses of the fleet or a process: a number for each bucket, by level."""

    hits: Mapping[str, Sequence[float]]
    misses: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, scope: Scope, at: Sequence[datetime]) -> Reads:
        """Those of the buckets that begin at these moments."""
        types = [f"{NAME}.{level}.{kind}" for level in LEVELS for kind in ("hits", "misses")]
        found = counts(types, scope, at)
        return cls(
            {level: found[f"{NAME}.{level}.hits"] for level in LEVELS},
            {level: found[f"{NAME}.{level}.misses"] for level in LEVELS},
        )

    def ratio(self, level: str, part: slice = EVERY) -> float | None:
        """Per cent of hits at a level."""
        return ratio(sum(self.hits[level][part]), sum(self.misses[level][part]))

    def overall(self, part: slice = EVERY) -> float | None:
        """Per cent of reads that were a hit at either level; None when there were few."""
        local, remote = (sum(self.hits[level][part]) for level in LEVELS)
        reads = local + sum(self.misses["local"][part])
        return 100 * (local + remote) / reads if reads >= ENOUGH else None


class CacheCard:
    """What the cache is worth."""

    name = NAME
    title = "Cache"
    template = ""

    def content(self, scope: Scope) -> Content:
        """The window's reads by namespace and level, and each process's level 1."""
        processes = {
            instance: state
            for instance, state in values(NAME).items()
            if scope.instance in ("", instance)
        }
        at = moments(scope)
        counters = BRIEFLY if scope.is_brief else COUNTERS
        found = Counts(counted([f"{NAME}.{counter}" for counter in counters], scope))
        levels, loads = namespaces(found), loading(found)
        if not processes and not levels.rows:
            return Content(
                health=UNHEARD, empty="No process has told of its cache. Start one, with Valkey."
            )
        reads, calls = Reads.of(scope, at), series(f"{NAME}.call", scope)
        finest = replace(FINEST, instance=scope.instance)
        recent = reads if scope == finest else Reads.of(finest, moments(finest))
        return Content(
            health=health(processes, recent),
            facts=facts(reads, total(calls), loads, processes),
            charts=shown(charts(at, reads, calls), scope),
            tables=[] if scope.is_brief else [levels, loads, memory(processes), events(scope)],
            actions=[Warm(namespace=one.name) for one in warmers()],
            note="Saved: hits times the mean load of their namespace, where there was a load.",
        )


def health(processes: Mapping[str, Mapping[str, Any]], recent: Reads) -> Health:
    """Level 2 that is away, then a cache that has lost what it had."""
    if not processes:
        return UNHEARD
    broken = [name for name, one in processes.items() if one["breaker"] != "closed"]
    if broken:
        return Health(Level.RED, f"{len(broken)} processes cannot reach level 2 ({broken[0]})")
    before, now = recent.overall(BEFORE), recent.overall(NOW)
    if now is not None and before is not None and before - now > COLLAPSE:
        reason = f"hits have fallen to {now:.0f} % in the last minutes, from {before:.0f} %"
        return Health(Level.YELLOW, reason)
    if now is None:
        return Health(Level.GREEN, "little is read")
    return Health(Level.GREEN, f"{now:.0f} % of all reads are hits")


def ratio(hits: float, misses: float) -> float | None:
    """Per cent of hits; None when nothing was read."""
    return 100 * hits / (hits + misses) if hits + misses else None


def facts(
    reads: Reads, calls: Summary, loads: Table, processes: Mapping[str, Mapping[str, Any]]
) -> list[Fact]:
    """All namespaces together."""
    broken = sum(one["breaker"] != "closed" for one in processes.values())
    return [
        Fact("Hits", reads.overall(), "percent", hint="Of all reads, at either level."),
        *(Fact(text, reads.ratio(level), "percent") for level, text in LEVELS.items()),
        Fact("Saved", sum(row.cells["saved"] for row in loads.rows), "ms"),
        Fact("Loads", sum(row.cells["loads"] for row in loads.rows)),
        Fact("Level 2 p95", calls.p95 if calls.count else None, "ms", hint="Of a round trip."),
        Fact("Breakers open", broken, level=Level.RED if broken else Level.GREEN),
    ]


def charts(at: Sequence[datetime], reads: Reads, calls: Sequence[Point]) -> Iterator[Chart]:
    """Hit ratios, and how long level 2 takes."""
    lines = [
        Line(text, [ratio(*pair) for pair in zip(reads.hits[one], reads.misses[one], strict=True)])
        for one, text in LEVELS.items()
    ]
    yield Chart("Hits", at, lines, "percent")
    yield Chart("Level 2", at, [Line(*one) for one in percentiles(calls).items()], "ms")


def namespaces(found: Counts) -> Table:
    """A row a namespace and level."""
    rows = []
    for namespace in found.namespaces:
        for level, text in LEVELS.items():
            number = {
                name: found.number(f"{level}.{name}", namespace)
                for name in ("hits", "misses", "stale_serves", "evictions", "invalidations")
            }
            errors = sum(found.number(f"{level}.{name}", namespace) for name in FAULTS)
            cells = {
                "namespace": namespace,
                "level": text,
                "reads": number["hits"] + number["misses"],
                "ratio": ratio(number["hits"], number["misses"]),
                "stale": number["stale_serves"],
                "errors": errors,
                "read": found.sum(f"{level}.bytes_read", namespace),
                "written": found.sum(f"{level}.bytes_written", namespace),
            }
            # It empties both levels, and stands beside the one whose entries it counts.
            can = [Clear(namespace=namespace)] if level == "remote" else []
            verdict = Level.YELLOW if errors else Level.GREEN
            rows.append(Row(number | cells, level=verdict, actions=can))
    return Table("namespaces", "By namespace and level", COLUMNS, rows)


def loading(found: Counts) -> Table:
    """What it costs to load, and what was saved by not having to."""
    rows = []
    for namespace in found.namespaces:
        loads = found.number("local.loads", namespace)
        if not loads:
            continue
        spent = found.sum("local.loads", namespace)
        hits = sum(found.number(f"{level}.hits", namespace) for level in LEVELS)
        cells = {
            "namespace": namespace,
            "loads": loads,
            "again": found.number("local.reloads", namespace),
            "mean": spent / loads,
            "loading": spent,
            "hits": hits,
            "saved": hits * spent / loads,
            "waits": found.number("local.waits", namespace),
        }
        rows.append(Row(cells))
    rows.sort(key=lambda row: -row.cells["saved"])
    return Table("loads", "What loading costs, and what hits save", LOADS, rows)


def memory(processes: Mapping[str, Mapping[str, Any]]) -> Table:
    """Level 1 of each process, and how it sees level 2."""
    rows = [
        Row(
            {"process": name, **one, "filled": 100 * one["bytes"] / max(one["most_bytes"], 1)},
            level=Level.RED if one["breaker"] != "closed" else Level.GREEN,
        )
        for name, one in processes.items()
    ]
    return Table("processes", "By process", PROCESSES, rows, "No process has told of its cache.")


def events(scope: Scope) -> Table:
    """What became of breakers."""
    rows = [
        Row(
            {"at": one.recorded_at, "state": one.key, "process": one.instance},
            level=Level.GREEN if one.key == "closed" else Level.YELLOW,
        )
        for one in samples("cache.breaker", scope, most=20)
    ]
    return Table("events", "Circuit breaker", EVENTS, rows, "Level 2 was always there.")
