"""What the invariants are asked about: PostgreSQL and the ledgers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.faults import ledger

if TYPE_CHECKING:
    from tests.faults.rig import Rig

SWEEP = 15.0


@dataclass(frozen=True)
class Violation:
    """An invariant that does not hold, and the first rows that show it."""

    invariant: str
    count: int
    evidence: list[Any]

    def __str__(self) -> str:
        return f"{self.invariant}: {self.count}, such as {self.evidence}"


class Stored(NamedTuple):
    """A result: its job and the tag that this asked for, the last claim, and the page."""

    job: str
    tag: str
    worker: str
    serial: int
    started_at: float


@dataclass
class Evidence:
    """The state of a rig, read once; `lease` and `sweep` in seconds.

    A lease that has ended must have been seen by somebody after another `sweep`.
    """

    rig: Rig
    lease: float
    sweep: float = SWEEP

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What PostgreSQL says, past every proxy."""
        return self.rig.postgres.query(sql, *parameters)

    @cached_property
    def acknowledged(self) -> dict[str, dict[str, Any]]:
        """The promises, by job."""
        return {entry["id"]: entry for entry in self.rig.client.acknowledged()}

    @cached_property
    def requests(self) -> dict[int, dict[str, Any]]:
        """The origin's first entry of each page it gave, by serial number."""
        entries = self.rig.pages.ledger()
        return {entry["serial"]: entry for entry in entries if entry["event"] == "begun"}

    @cached_property
    def received(self) -> list[dict[str, Any]]:
        """What the webhook receiver was sent."""
        return ledger.read(self.rig.directory / "receiver.jsonl")

    @cached_property
    def results(self) -> list[Stored]:
        """What is stored of each acknowledged job that has succeeded."""
        rows = self.rows(
            "SELECT job.id::text, job.worker, result.text,"
            " extract(epoch FROM job.started_at)::float8"
            " FROM jobs_job job JOIN jobs_result result ON result.job_id = job.id"
            " WHERE job.id = ANY(%s::uuid[])",
            list(self.acknowledged),
        )
        return [
            Stored(job, self.acknowledged[job]["tag"], worker, serial_of(text or ""), started)
            for job, worker, text, started in rows
        ]


def serial_of(text: str) -> int:
    """The serial number on a page of the origin; 0, which no page has, for any other text."""
    match = re.search(r"serial (\d+)", text)
    return int(match[1]) if match else 0
