"""What a run found, as a table and as JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tests.faults.load import EXPECTED

if TYPE_CHECKING:
    from tests.faults.load import Load
    from tests.faults.matrix import Outcome
    from tests.faults.rig import Rig
    from tests.faults.storm import Storm

RECLAIMED = """
SELECT extract(epoch FROM seen.at)::float8 - killed.at
FROM unnest(%s::text[], %s::float8[]) AS killed (pid, at)
JOIN faults_moves claim
    ON split_part(claim.worker, '/', 2) = killed.pid AND claim.new = 'running'
    AND claim.at < to_timestamp(killed.at)
CROSS JOIN LATERAL (
    SELECT at FROM faults_moves later
    WHERE later.job = claim.job AND later.id > claim.id AND later.new <> 'queued'
    ORDER BY later.id LIMIT 1
) seen
WHERE seen.at > to_timestamp(killed.at)
"""
"""For each job that a killed worker was running: the seconds until it was claimed again."""


@dataclass
class Report:
    """Seconds are p50 and maximum."""

    seed: int
    seconds: float = 0.0
    acknowledged: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    duplicate_commits: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    other_faults: dict[str, int] = field(default_factory=dict)
    died_by_themselves: dict[str, int] = field(default_factory=dict)
    orphans: int = 0
    jobs_recovered: tuple[float, float] = (0.0, 0.0)
    submissions_recovered: tuple[float, float] = (0.0, 0.0)
    problems: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        rows_hold = all(not row["error"] and not row["violations"] for row in self.rows)
        return not self.problems and not self.lost and not self.duplicate_commits and rows_hold

    def add_rows(self, outcomes: list[Outcome]) -> None:
        """What came of the fault matrix."""
        for outcome in outcomes:
            found = [str(violation) for violation in outcome.violations]
            self.rows.append(asdict(outcome) | {"violations": found})

    def add_storm(self, rig: Rig, storm: Storm, load: Load) -> None:
        """What came of the load with random faults; asked when all is quiet."""
        query = rig.postgres.query
        self.acknowledged = len(rig.client.acknowledged())
        self.answers = dict(load.answers)
        self.ended = dict(
            query(
                "SELECT concat_ws(' ', state, error_code), count(*)::int FROM jobs_job GROUP BY 1"
            )
        )
        ((self.duplicate_commits,),) = query(
            "SELECT count(*) FROM (SELECT FROM faults_moves WHERE new = 'succeeded' GROUP BY job"
            " HAVING count(*) > 1 UNION ALL"
            " SELECT FROM faults_results GROUP BY job HAVING count(*) > 1) twice"
        )
        self.kills, self.other_faults = dict(storm.kills), dict(storm.others)
        self.died_by_themselves = dict(storm.died)
        pids, moments = zip(*storm.killed_at, strict=True) if storm.killed_at else ((), ())
        times = [s for (s,) in query(RECLAIMED, [str(pid) for pid in pids], list(moments))]
        self.orphans, self.jobs_recovered = len(times), spread(times)
        # The load may end before a submission after the last restart.
        later = ([at for at in load.accepted_at if at > up] for up in storm.restarted_at)
        self.submissions_recovered = spread(
            [
                min(accepted) - up
                for up, accepted in zip(storm.restarted_at, later, strict=True)
                if accepted
            ]
        )
        ((self.lost,),) = query(
            "SELECT count(*) FROM unnest(%s::uuid[]) AS promised (id)"
            " LEFT JOIN jobs_job USING (id) WHERE finished_at IS NULL",
            [entry["id"] for entry in rig.client.acknowledged()],
        )
        unexpected = {status: n for status, n in load.answers.items() if status not in EXPECTED}
        self.problems += [f"answers: {unexpected}"] if unexpected else []
        self.problems += load.wrong[:10]

    def tables(self) -> list[Table]:
        """For the terminal."""
        storm = Table("storm", "", title=f"seed {self.seed}, {self.seconds:.0f} s")
        for name, value in asdict(self).items():
            if name not in {"rows", "problems", "seed", "seconds"}:
                storm.add_row(name.replace("_", " "), shown(value))
        for problem in self.problems:
            storm.add_row("[red]problem", problem)
        matrix = Table("fault", "seconds", "measured", "result")
        for row in self.rows:
            result = row["error"] or "; ".join(row["violations"]) or "holds"
            matrix.add_row(row["row"], f"{row['seconds']:.1f}", shown(row["times"]), result)
        return [matrix, storm] if self.rows else [storm]


def spread(seconds: list[float]) -> tuple[float, float]:
    """The median and the maximum."""
    if not seconds:
        return 0.0, 0.0
    return round(statistics.median(seconds), 2), round(max(seconds), 2)


def shown(value: object) -> str:
    """A value for a cell."""
    if isinstance(value, dict):
        cells = (
            f"{name} {number:.1f}" if isinstance(number, float) else f"{name} {number}"
            for name, number in value.items()
        )
        return ", ".join(cells)
    if isinstance(value, tuple):
        return "p50 {} s, max {} s".format(*value)
    return str(value)
