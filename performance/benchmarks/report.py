"""The one language of all benchmarks: rows, a table, a JSON document, an exit code."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from django.db import connection
from django_redis import get_redis_connection
from rich.table import Table

from performance.revision import revision

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `met` is None when there is no goal."""

    metric: str
    value: float
    unit: str
    goal: str | None = None
    met: bool | None = None


def judged(metric: str, value: float, unit: str, sign: Literal["≥", "≤"], goal: float) -> Row:
    """A figure with a goal to reach or to stay below."""
    met = value >= goal if sign == "≥" else value <= goal
    return Row(metric, value, unit, f"{sign} {goal:g}", met)


@dataclass(slots=True)
class Report:
    """What a benchmark measured, on what, with which code."""

    name: str
    rows: list[Row] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether every row with a goal meets it."""
        return all(row.met is not False for row in self.rows)

    def document(self) -> dict[str, Any]:
        """`{name, revision, machine, rows}`."""
        return {
            "name": self.name,
            "revision": revision(),
            "machine": machine(),
            "rows": [asdict(row) for row in self.rows],
        }

    def write(self, path: Path) -> None:
        """Store the document as JSON."""
        path.write_text(json.dumps(self.document(), indent=2, ensure_ascii=False) + "\n")

    def print(self, console: Console) -> None:
        """Show the rows as a table, with the machine below it."""
        table = Table(title=f"benchmark {self.name}", title_justify="left")
        for heading, justify in (("metric", "left"), ("value", "right"), ("unit", "left")):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]
        table.add_column("goal", justify="right")
        table.add_column("met")
        for row in self.rows:
            mark = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row.met]
            table.add_row(row.metric, figure(row.value), row.unit, row.goal or "", mark)
        console.print(table)
        about = machine()
        console.print(
            f"{about['cpu']}, {about['cores']} cores, {about['memory'] / 2**30:.0f} GiB; "
            f"Python {about['python']}, PostgreSQL {about['postgresql']}, "
            f"Valkey {about['valkey']}; revision {revision()}",
            soft_wrap=True,
        )


def figure(value: float) -> str:
    """A number with as many digits as mean something."""
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"


def machine() -> dict[str, Any]:
    """What the figures were measured on; `memory` in bytes."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (postgresql,) = cursor.fetchone()
    valkey = get_redis_connection("default").info("server")
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "postgresql": postgresql,
        "valkey": valkey.get("valkey_version") or valkey.get("redis_version"),
    }


def cpu_model() -> str:
    """The processor's name, as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
