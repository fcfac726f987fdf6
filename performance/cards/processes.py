"""Processes: who is there, how busy, and what it costs to watch them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from performance.cards.lag import LATE
from performance.cards.lately import lasting
from performance.cards.shapes import Column, Content, Fact, Health, Level, Row, Table
from performance.conf import performance_settings
from performance.storage.reading import values

if TYPE_CHECKING:
    from performance.storage.reading import Scope

# Per cent of a core: gevent's hub and an asyncio loop have one each.
BUSY = 85.0
# Seconds after which a recorder that failed, or Valkey that was away, seems to be well again.
RECENT = 600.0

COLUMNS = (
    Column("instance", "Process", "code"),
    Column("role", "Role"),
    Column("uptime", "Up for", "seconds"),
    Column("cpu", "CPU", "percent"),
    Column("p99", "Lag p99", "ms"),
    Column("max", "Latest", "ms"),
    Column("running", "Requests or tasks", "number"),
    Column("threads", "Threads", "number"),
    Column("files", "Open files", "number"),
    Column("cost", "Cost of watching", "percent"),
    Column("rate", "Looked at", "percent"),
    Column("dropped", "Messages dropped", "number"),
    Column("failures", "Recorders failed"),
    Column("metrics_port", "Metrics at port", "code"),
    Column("python", "Python"),
)


class ProcessesCard:
    """The fleet, process by process."""

    name = "processes"
    title = "Processes"
    template = ""

    def content(self, scope: Scope) -> Content:
        """Every process that has spoken lately."""
        found = {
            instance: state
            for instance, state in states().items()
            if not scope.instance or instance == scope.instance
        }
        if not found:
            return Content(
                health=Health(Level.YELLOW, "nobody can be seen"),
                empty="No process speaks. They do when PERFORMANCE_ENABLED is true, Valkey is "
                "reachable and a worker or a web process digests what they say.",
            )
        rows = [row(instance, state) for instance, state in found.items()]
        return Content(
            health=health(found),
            facts=facts(found),
            tables=[Table("processes", "By process", COLUMNS, rows)],
        )


def states() -> dict[str, dict[str, Any]]:
    """What each process says of itself, its memory and its lag, as one document."""
    memory, lag = values("memory"), values("lag")
    return {
        instance: memory.get(instance, {}) | lag.get(instance, {}) | state
        for instance, state in values("process").items()
    }


def health(found: dict[str, dict[str, Any]]) -> Health:
    """Watching that goes wrong or costs too much, then processes that are busy."""
    failed = [one for state in found.values() for one in failing(state)]
    if failed:
        return Health(Level.YELLOW, said_of(failed))
    dropped = [state for state in found.values() if is_recent(state.get("dropped_at"))]
    if dropped:
        return Health(Level.YELLOW, said_of_dropped(dropped))
    dearest = max(found, key=lambda one: float(found[one]["cost"]))
    if found[dearest]["cost"] > performance_settings().most_cost:
        share = found[dearest]["cost"]
        return Health(Level.YELLOW, f"watching {dearest} costs {100 * share:.0f} % of its work")
    busiest = max(found, key=lambda one: float(found[one].get("cpu") or 0.0))
    busy = found[busiest].get("cpu") or 0.0
    if busy > BUSY:
        return Health(Level.YELLOW, f"{busiest} uses {busy:.0f} % of a core; it needs company")
    return Health(Level.GREEN, "every process has time to spare")


class Failing(NamedTuple):
    """A recorder of one process that fails; `first` and `last` are seconds since the epoch."""

    name: str
    times: int
    first: float
    last: float


def failing(state: dict[str, Any]) -> list[Failing]:
    """The recorders of a process that have failed lately: those that failed once are well again."""
    return [
        Failing(name, state["failures"][name], first, last)
        for name, (first, last) in state.get("failed_at", {}).items()
        if is_recent(last)
    ]


def is_recent(at: float | None) -> bool:
    """Whether that happened a moment ago, in seconds since the epoch; None never did."""
    return at is not None and time() - at < RECENT


def said_of_dropped(states: list[dict[str, Any]]) -> str:
    """How many messages these processes have dropped since they began, and when the last."""
    number = sum(state["dropped"] for state in states)
    ago = lasting(max(time() - max(state["dropped_at"] for state in states), 0.0))
    return f"{number} messages were dropped, the last {ago} ago: Valkey was away"


def said_of(failed: list[Failing]) -> str:
    """Which recorder fails most in all processes together, and since when."""
    times = Counter[str]()
    for one in failed:
        times[one.name] += one.times
    name, number = times.most_common(1)[0]
    first = min(one.first for one in failed if one.name == name)
    last = max(one.last for one in failed if one.name == name)
    often = "once" if number == 1 else f"{number} times"
    since = f"since {datetime.fromtimestamp(first, UTC):%Y-%m-%d %H:%M:%S}"
    ago = lasting(max(time() - last, 0.0))
    return f"the recorder {name} failed {often} {since}, last {ago} ago; the log says why"


def facts(found: dict[str, dict[str, Any]]) -> list[Fact]:
    """How many of each role, and what watching costs on average."""
    roles = Counter(str(state["role"]) for state in found.values())
    cost = 100 * sum(state["cost"] for state in found.values()) / len(found)
    late = [state["p99"] for state in found.values() if state.get("p99") is not None]
    return [
        *(Fact(f"{role.capitalize()} processes", number) for role, number in sorted(roles.items())),
        Fact("CPU together", sum(state.get("cpu") or 0.0 for state in found.values()), "percent"),
        Fact("Worst lag p99", max(late, default=None), "ms"),
        Fact("Cost of watching", cost, "percent", hint="Of the processor time of all processes."),
    ]


def row(instance: str, state: dict[str, Any]) -> Row:
    """A process, as it is now."""
    late = state.get("p99") or 0.0
    cells = {column.key: state.get(column.key) for column in COLUMNS} | {
        "instance": instance,
        "uptime": max(time() - state["started"], 0.0),
        "running": state.get("tasks", state.get("requests")),
        "cost": 100 * state["cost"],
        "rate": 100 * state["rate"],
        # A name, not a number: it has no thousands.
        "metrics_port": str(state.get("metrics_port") or "none"),
        "failures": ", ".join(f"{name} {n}" for name, n in sorted(state["failures"].items())),
    }
    is_late = late > LATE or (state.get("cpu") or 0.0) > BUSY or bool(failing(state))
    return Row(cells, level=Level.YELLOW if is_late else Level.GREEN)
