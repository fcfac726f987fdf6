"""Processes: who is there, how busy, and what it costs to watch them."""

from __future__ import annotations

from collections import Counter
from time import time
from typing import TYPE_CHECKING, Any

from performance.cards.lag import LATE
from performance.cards.shapes import Column, Content, Fact, Health, Level, Row, Table
from performance.conf import performance_settings
from performance.storage.reading import values

if TYPE_CHECKING:
    from performance.storage.reading import Scope

# Per cent of a core: gevent's hub and an asyncio loop have one each.
BUSY = 85.0

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
                empty="No process speaks. They do when PERFORMANCE_ENABLED is true, Valkey is "
                "reachable and a worker or a web process digests what they say."
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
    failed = Counter[str]()
    for state in found.values():
        failed.update(state["failures"])
    if failed:
        name, number = failed.most_common(1)[0]
        return Health(Level.YELLOW, f"the recorder {name} failed {number} times; the log says why")
    dropped = sum(state["dropped"] for state in found.values())
    if dropped:
        return Health(Level.YELLOW, f"{dropped} messages were dropped: Valkey was away")
    dearest = max(found, key=lambda one: float(found[one]["cost"]))
    if found[dearest]["cost"] > performance_settings().most_cost:
        share = found[dearest]["cost"]
        return Health(Level.YELLOW, f"watching {dearest} costs {100 * share:.0f} % of its work")
    busiest = max(found, key=lambda one: float(found[one].get("cpu") or 0.0))
    busy = found[busiest].get("cpu") or 0.0
    if busy > BUSY:
        return Health(Level.YELLOW, f"{busiest} uses {busy:.0f} % of a core; it needs company")
    return Health(Level.GREEN, "every process has time to spare")


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
        "failures": ", ".join(f"{name} {n}" for name, n in sorted(state["failures"].items())),
    }
    is_late = late > LATE or (state.get("cpu") or 0.0) > BUSY or bool(state["failures"])
    return Row(cells, level=Level.YELLOW if is_late else Level.GREEN)
