"""A plan as PostgreSQL explains it, as a typed tree: what each step costs by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What narrows down the rows that a step returns, by its label in PostgreSQL's own words.
CONDITIONS = (
    "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "TID Cond",
    "One-Time Filter", "Filter",
)  # fmt: skip
# These read everything below them before they give their first row, whoever stops asking later.
GREEDY = {"Sort", "Hash", "Aggregate", "HashAggregate", "Bitmap Heap Scan", "BitmapAnd", "BitmapOr"}
MISESTIMATE = 10.0
CALL = re.compile(r'"([^"]+)"\(|(\w+)\(')


@dataclass(frozen=True, slots=True)
class Step:
    """A node of a plan. Times are milliseconds of all its loops, sizes bytes, blocks 8 kB.

    What only a run can tell (`actual_rows` in all loops, `time` with everything below,
    `self_time`, `removed` rows) is None when it was only planned. `cost` is the planner's for one
    loop, `self_cost` what it is of the whole plan's, in all loops and without what is below. A step
    that `is_cut` need not be read to its end: whoever asks may have enough before.
    """

    kind: str
    relation: str = ""
    schema: str = ""
    alias: str = ""
    index: str = ""
    role: str = ""
    cost: float = 0.0
    self_cost: float = 0.0
    rows: float = 0.0
    width: int = 0
    loops: float = 1.0
    actual_rows: float | None = None
    time: float | None = None
    self_time: float | None = None
    removed: float | None = None
    conditions: dict[str, str] = field(default_factory=dict)
    keys: str = ""
    spilled: int = 0
    blocks_hit: int = 0
    blocks_read: int = 0
    blocks_temporary: int = 0
    heap_fetches: float = 0.0
    is_cut: bool = False
    steps: tuple[Step, ...] = ()

    @property
    def label(self) -> str:
        """What it does, with what."""
        place = self.relation or self.alias
        on = f" on {place}" if place else ""
        named = f" {self.alias}" if self.relation and self.alias not in ("", self.relation) else ""
        using = f" using {self.index}" if self.index else ""
        return f"{self.kind}{using}{on}{named}"

    @property
    def misestimate(self) -> float | None:
        """How many times too few or too many rows were expected; 1 is right, None is unknown.

        Fewer rows than expected say nothing of a step that is cut short.
        """
        if self.actual_rows is None or not self.loops:
            return None
        expected, found = max(self.rows, 1.0), max(self.actual_rows / self.loops, 1.0)
        if self.is_cut and found < expected:
            return None
        return max(expected / found, found / expected)

    @property
    def is_misestimated(self) -> bool:
        """Whether the planner was so wrong that another plan may be better."""
        return (self.misestimate or 1.0) >= MISESTIMATE

    def all(self, depth: int = 0) -> Iterator[tuple[int, Step]]:
        """It and everything below, each with its depth, in the order of reading."""
        yield depth, self
        for step in self.steps:
            yield from step.all(depth + 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole plan; the times (milliseconds) are None when it was not run.

    `calls` has the names of all functions in it.
    """

    root: Step
    planning: float | None
    execution: float | None
    calls: frozenset[str] = frozenset()

    @property
    def steps(self) -> list[tuple[int, Step]]:
        """All steps with their depths, as they are drawn."""
        return list(self.root.all())

    @property
    def was_run(self) -> bool:
        """Whether it has actual rows and times."""
        return self.execution is not None

    @property
    def writes(self) -> bool:
        """Whether running it would change data, also from within a CTE."""
        return any(step.kind == "ModifyTable" for _, step in self.steps)

    def share(self, step: Step) -> float:
        """Per cent of all the work that is this step's own: of time, or of cost if it never ran."""
        whole = sum(own(one) for _, one in self.steps)
        return 100 * own(step) / whole if whole else 0.0


def own(step: Step) -> float:
    """What the step takes by itself: milliseconds, or cost when it was not run."""
    return step.self_cost if step.self_time is None else step.self_time


def parse(document: list[dict[str, Any]]) -> Plan:
    """The plan in what EXPLAIN (FORMAT JSON) returns. Raises KeyError for anything else."""
    whole = document[0]
    calls = {quoted or name for text in _texts(whole) for quoted, name in CALL.findall(text)}
    return Plan(
        _step(whole["Plan"]),
        whole.get("Planning Time"),
        whole.get("Execution Time"),
        frozenset(calls),
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _step(
    node: dict[str, Any], processes: float = 1.0, rounds: float = 1.0, is_cut: bool = False
) -> Step:
    # Below a Gather every process adds its loops, and all of them run at once.
    below = processes * (1 + node.get("Workers Launched", 0))
    children = node.get("Plans", ())
    shares = _shares(node, children)
    steps = tuple(
        _step(child, below, rounds * share, _is_cut(node, child, is_cut=is_cut))
        for child, share in zip(children, shares, strict=True)
    )
    parts = sum(step.cost * share for step, share in zip(steps, shares, strict=True))
    loops = float(node.get("Actual Loops", 1))
    time, actual_rows = _all_loops(node, loops, processes)
    return Step(
        kind=_kind(node),
        relation=node.get("Relation Name", ""),
        schema=node.get("Schema", ""),
        alias=node.get("Alias", node.get("CTE Name", node.get("Function Name", ""))),
        index=node.get("Index Name", ""),
        role=node.get("Subplan Name", ""),
        cost=node["Total Cost"],
        self_cost=rounds * max(0.0, node["Total Cost"] - parts),
        rows=node["Plan Rows"],
        width=node["Plan Width"],
        loops=loops,
        actual_rows=actual_rows,
        time=time,
        self_time=None if time is None else max(0.0, time - sum(s.time or 0.0 for s in steps)),
        removed=_removed(node, loops),
        conditions={name: str(node[name]) for name in CONDITIONS if name in node},
        keys=", ".join(node.get("Sort Key", node.get("Group Key", ()))),
        spilled=_spilled(node),
        blocks_hit=node.get("Shared Hit Blocks", 0),
        blocks_read=node.get("Shared Read Blocks", 0),
        blocks_temporary=node.get("Temp Read Blocks", 0) + node.get("Temp Written Blocks", 0),
        heap_fetches=node.get("Heap Fetches", 0),
        is_cut=is_cut,
        steps=steps,
    )


def _shares(node: dict[str, Any], children: Sequence[dict[str, Any]]) -> list[float]:
    """How many times the cost of each child, which is of one round, is in that of the node."""
    whole, costs = node["Total Cost"], [child["Total Cost"] for child in children]
    shares = [1.0] * len(costs)
    parts = {child.get("Parent Relationship"): at for at, child in enumerate(children)}
    if node["Node Type"] == "Nested Loop" and {"Outer", "Inner"} <= set(parts):
        outer, inner = parts["Outer"], parts["Inner"]
        # What is kept in memory is cheap from its second round on: that is the loop's own work.
        if children[inner]["Node Type"] != "Materialize" and costs[inner]:
            rest = max(whole - sum(costs) + costs[inner], 0.0) / costs[inner]
            shares[inner] = min(max(children[outer]["Plan Rows"], 1), rest)
    together = sum(cost * share for cost, share in zip(costs, shares, strict=True))
    # Where not all is read, a child costs more than the node: below a Limit, or in a merge.
    return [share * min(1.0, whole / together) for share in shares] if together else shares


def _is_cut(node: dict[str, Any], child: dict[str, Any], *, is_cut: bool) -> bool:
    """Whether the child may be left before its end, in a node of which the same `is_cut`."""
    kind = _kind(node).removeprefix("Parallel ")
    if child["Node Type"] == "Hash":
        return False
    if kind == "Limit":
        # With fewer rows than it was planned for, it has asked for all there are.
        return is_cut or node.get("Actual Rows", node["Plan Rows"]) >= node["Plan Rows"]
    part = child.get("Parent Relationship")
    if part in ("InitPlan", "SubPlan") and not child.get("Subplan Name", "").startswith("CTE"):
        # Perhaps an EXISTS, which a plan does not tell.
        return True
    if part == "Inner" and node.get("Join Type") in ("Semi", "Anti"):
        return True
    return is_cut and kind not in GREEDY


def _kind(node: dict[str, Any]) -> str:
    """As EXPLAIN's text names it: a join with its kind, an aggregate with its strategy."""
    kind: str = node["Node Type"]
    if kind == "Aggregate":
        strategy = {"Sorted": "Group", "Hashed": "Hash", "Mixed": "Mixed "}
        kind = f"{strategy.get(node.get('Strategy', ''), '')}Aggregate"
    join = node.get("Join Type", "Inner")
    if join != "Inner":
        kind = f"{kind} ({join} join)"
    return f"Parallel {kind}" if node.get("Parallel Aware") else kind


def _all_loops(
    node: dict[str, Any], loops: float, processes: float
) -> tuple[float | None, float | None]:
    if "Actual Rows" not in node:
        return None, None
    # Without TIMING there are rows but no times.
    time = node.get("Actual Total Time")
    return None if time is None else time * loops / processes, node["Actual Rows"] * loops


def _removed(node: dict[str, Any], loops: float) -> float | None:
    names = ("Filter", "Join Filter", "Index Recheck")
    found = [node[name] for by in names if (name := f"Rows Removed by {by}") in node]
    return sum(found) * loops if found else None


def _spilled(node: dict[str, Any]) -> int:
    """Bytes that did not fit into work_mem and went to disk."""
    if node.get("Sort Space Type") == "Disk":
        return int(node.get("Sort Space Used", 0)) * 1024
    if node.get("Hash Batches", 1) > 1 or node.get("HashAgg Batches", 1) > 1:
        written = 8192 * int(node.get("Temp Written Blocks", 0))
        return max(1024 * int(node.get("Disk Usage", 0)), written, 1)
    return 0
