"""Memory: what each process has, whether it grows, what collecting garbage costs, leak suspects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from performance.conf import performance_settings
from performance.recorders import garbage, growth
from performance.recorders.memory import NAME
from performance.storage.reading import curves, moments, top, total, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from performance.storage.reading import Point, Scope

# Shares of the limit.
MUCH, TOO_MUCH = 0.8, 0.9
# Milliseconds that a collection may stop a process.
LONG_PAUSE = 50.0
ROLES = ("web", "worker")
MEBIBYTE = 1024 * 1024

PROCESSES = (
    Column("instance", "Process", "code"),
    Column("role", "Role"),
    Column("rss", "RSS", "bytes"),
    Column("pss", "PSS", "bytes"),
    Column("uss", "USS", "bytes"),
    Column("limit", "Container's limit", "bytes"),
    Column("used", "Of it in use", "percent"),
    Column("slope", "Growth an hour", "bytes"),
    Column("blocks", "Blocks", "number"),
    Column("frozen", "Frozen objects", "number"),
    Column("counts", "Since last collection"),
    Column("collections", "Collections"),
    Column("uncollectable", "Uncollectable", "number"),
    Column("tracing", "Traced now"),
)
GENERATIONS = (
    Column("generation", "Collections of"),
    Column("rate", "Rate", "per second"),
    Column("p50", "p50", "ms"),
    Column("p99", "p99", "ms"),
    Column("max", "Longest", "ms"),
    Column("sum", "Together", "ms"),
)
SUSPECTS = (
    Column("place", "Allocated at", "code"),
    Column("bytes", "Grew by", "bytes"),
    Column("objects", "Objects", "number"),
    Column("seconds", "Within", "seconds"),
    Column("seen", "Times seen", "number"),
    Column("stack", "Called from", "code"),
)


class MemoryCard:
    """Whether memory will last."""

    name = "memory"
    title = "Memory"
    template = ""

    def content(self, scope: Scope) -> Content:
        """Every process as it is now, and the window's growth and pauses."""
        states = {
            instance: state
            for instance, state in values(NAME).items()
            if not scope.instance or instance == scope.instance
        }
        if not states:
            return Content(
                health=Health(Level.YELLOW, "nothing is known of any process"),
                empty="No process tells of its memory: start one, and look again in ten seconds.",
            )
        suspects = top(growth.NAME, scope, order="max")
        table = Table(
            "suspects",
            "Leak suspects",
            SUSPECTS,
            [
                Row(
                    {
                        "place": line.key,
                        "bytes": line.max,
                        "objects": line.about.get("objects"),
                        "seconds": line.about.get("seconds"),
                        "seen": line.count,
                        "stack": line.about.get("about") or _callers(line.about.get("stack", [])),
                    },
                    level=Level.RED,
                )
                for line in suspects
            ],
            "No process has grown for long enough to be traced.",
        )
        return Content(
            health=health(states, [line.key for line in suspects]),
            facts=facts(states),
            charts=shown(charts(scope), scope),
            tables=[] if scope.is_brief else [processes(states), generations(scope), table],
        )


def health(states: dict[str, dict[str, Any]], suspects: list[str]) -> Health:
    """A limit that is near, then leaks, then growth that may become one."""
    fullest = max(states, key=lambda instance: used(states[instance]) or 0.0)
    share = used(states[fullest]) or 0.0
    level = level_of(share)
    full = Health(level, f"the container of {fullest} uses {100 * share:.0f} % of its memory")
    if level is Level.RED:
        return full
    if suspects:
        return Health(Level.RED, f"memory that is taken at {suspects[0]} is not given back")
    if level is Level.YELLOW:
        return full
    growing = {name: slope(state) for name, state in states.items() if is_growing(state)}
    if growing:
        steepest = max(growing, key=growing.__getitem__)
        pace = growing[steepest] / MEBIBYTE
        return Health(Level.YELLOW, f"{steepest} grows by {pace:.0f} MiB an hour; watch it")
    return Health(Level.GREEN, "no process grows for long")


def level_of(share: float) -> Level:
    """How bad it is that a process has that share of its limit."""
    if share > TOO_MUCH:
        return Level.RED
    return Level.YELLOW if share > MUCH else Level.GREEN


def facts(states: dict[str, dict[str, Any]]) -> list[Fact]:
    """The fleet's memory; what processes share counts once in PSS."""
    found = states.values()
    steepest = max(map(slope, found))
    is_steep = any(map(is_growing, found))
    known = [state["pss"] for state in found if state.get("pss")]
    return [
        Fact("RSS together", sum(state.get("rss") or 0 for state in found), "bytes"),
        Fact(
            "PSS together",
            sum(known) if len(known) == len(states) else None,
            "bytes",
            hint="What processes share is divided among them.",
        ),
        Fact("Largest process", max(state.get("rss") or 0 for state in found), "bytes"),
        Fact(
            "Steepest growth an hour",
            steepest,
            "bytes",
            Level.YELLOW if is_steep else Level.GREEN,
            hint="By least squares over the last ten minutes.",
        ),
    ]


def charts(scope: Scope) -> Iterator[Chart]:
    """The largest process of each role, and how long full collections stopped anything."""
    at = moments(scope)
    sizes = curves([f"{NAME}.rss"], scope, ROLES, is_plain=True)
    lines = [Line(role, _largest(points)) for (_, role), points in sizes.items()]
    yield Chart("RSS of the largest process", at, lines, "bytes")
    pauses = curves([garbage.NAME], scope, garbage.GENERATIONS, is_plain=True)
    longest = [_largest(points) for points in pauses.values()]
    known = [[one for one in bucket if one is not None] for bucket in zip(*longest, strict=True)]
    any_of_them = [max(bucket, default=None) for bucket in known]
    lines = [Line("any", any_of_them), Line("full", longest[-1])]
    yield Chart("Longest garbage collection", at, lines, "ms")


def processes(states: dict[str, dict[str, Any]]) -> Table:
    """A row a process, as it is now."""
    roles = {instance: state.get("role") for instance, state in values("process").items()}
    rows = []
    for instance, state in states.items():
        share = used(state)
        cells = {column.key: state.get(column.key) for column in PROCESSES} | {
            "instance": instance,
            "role": roles.get(instance),
            "used": None if share is None else 100 * share,
            **{name: _joined(state.get(name)) for name in ("counts", "collections")},
        }
        rows.append(Row(cells, level=level_of(share or 0.0)))
    return Table("processes", "By process", PROCESSES, rows)


def generations(scope: Scope) -> Table:
    """A row a generation: the older, the longer it stops the process."""
    seconds = scope.period.window.total_seconds()
    pauses = curves([garbage.NAME], scope, garbage.GENERATIONS)
    rows = []
    for generation in garbage.GENERATIONS:
        line = total(pauses[garbage.NAME, generation])
        cells = {column.key: getattr(line, column.key, None) for column in GENERATIONS}
        cells |= {"generation": generation, "rate": line.count / seconds}
        level = Level.YELLOW if line.max > LONG_PAUSE else Level.GREEN
        rows.append(Row(cells, level=level))
    return Table("generations", "Garbage collections", GENERATIONS, rows)


def used(state: dict[str, Any]) -> float | None:
    """The share of its container's limit that is in use, by all that is in it; None: no limit."""
    size, limit = state.get("used"), state.get("limit")
    return size / limit if size and limit else None


def slope(state: dict[str, Any]) -> float:
    """Bytes an hour; 0 while that is unknown."""
    return float(state.get("slope") or 0.0)


def is_growing(state: dict[str, Any]) -> bool:
    """Whether it grows fast, and has by more than a process does until it has had all its work."""
    is_steep = slope(state) > performance_settings().memory_slope
    return is_steep and (state.get("grown") or 0) >= growth.GROWN_BY


def _largest(points: list[Point]) -> list[float | None]:
    return [point.summary.max if point.summary.count else None for point in points]


def _joined(numbers: list[int] | None) -> str | None:
    return " / ".join(map(str, numbers)) if numbers else None


def _callers(stack: list[str]) -> str:
    return " ← ".join(stack[:4])
