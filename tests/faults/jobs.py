"""Questions about jobs, answered by PostgreSQL itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.processes import until

if TYPE_CHECKING:
    from tests.faults.postgres import Postgres

RECLAIMED = 45.0
# What a worker had claimed when it died is sent again after a minute.
TOLD = 180.0


class Jobs:
    """All jobs of a rig, whoever submitted them."""

    def __init__(self, postgres: Postgres) -> None:
        self._query = postgres.query

    def state(self, job: str) -> str:
        """A job's state, from PostgreSQL itself."""
        ((state,),) = self._query("SELECT state FROM jobs_job WHERE id = %s", job)
        return str(state)

    def row(self, job: str) -> tuple[Any, ...]:
        """Everything about a job."""
        (row,) = self._query("SELECT * FROM jobs_job WHERE id = %s", job)
        return row

    def error(self, job: str) -> str:
        """The code of what a job failed by, or nothing."""
        ((code,),) = self._query("SELECT error_code FROM jobs_job WHERE id = %s", job)
        return str(code)

    def number_of(self, tag: str) -> int:
        """How many jobs there are for a page."""
        ((number,),) = self._query("SELECT count(*) FROM jobs_job WHERE url LIKE %s", f"%/{tag}?%")
        return int(number)

    def moves(self, job: str) -> list[str]:
        """The states that a job has gone through."""
        rows = self._query("SELECT new FROM faults_moves WHERE job = %s ORDER BY id", job)
        return [new for (new,) in rows]

    def wait_for_claim(self, job: str, number: int) -> None:
        """Wait until it has been claimed so often."""
        until(
            lambda: self.moves(job).count("running") >= number,
            f"claim {number} of the job",
            RECLAIMED,
        )

    def unfinished(self) -> int:
        """How many of all jobs are not terminal."""
        ((number,),) = self._query(
            "SELECT count(*) FROM jobs_job WHERE state IN ('queued', 'running')"
        )
        return int(number)

    def wait_for_all(self, seconds: float) -> None:
        """Wait until every job is terminal."""
        until(lambda: self.unfinished() == 0, "every job has ended", seconds)

    def untold(self) -> int:
        """How many ends an endpoint has yet to be told of."""
        ((number,),) = self._query("SELECT count(*) FROM jobs_delivery WHERE status = 'pending'")
        return int(number)

    def wait_until_told(self) -> None:
        """Wait until every end has been told of."""
        until(lambda: self.untold() == 0, "every end is told of", TOLD)
