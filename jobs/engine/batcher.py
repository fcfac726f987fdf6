"""Commits the outcomes of many jobs in one transaction, each fenced by its claim token."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from jobs.engine import statements
from jobs.engine.off_peak import next_off_peak
from jobs.errors import ScrapeError, UnstorableResult

if TYPE_CHECKING:
    from uuid import UUID

    from jobs.engine.announce import Announcer
    from jobs.engine.phases import Phases
    from jobs.engine.repository import Claim

logger = logging.getLogger(__name__)

# 216 ids fit into one notification of 8,000 bytes.
LARGEST_BATCH = 200
# Characters. PostgreSQL takes no message above 1 GB, and a character may take four bytes.
LARGEST_STATEMENT = 64_000_000
WINDOW = 0.005
RETRY_DELAYS = (0.1, 0.5, 1.0, 2.0)
REFUSED_DATA = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)


Row = tuple[Any, ...]


class LostOutcome(Exception):
    """An outcome could not be stored for a reason that nobody thought of."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a scrape found; `formats` holds one key a requested format."""

    final_url: str
    status_code: int
    fetched_at: datetime
    formats: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: `state` is succeeded, failed, queued (again after `delay` seconds) or
    released (given back uncounted)."""

    claim: Claim
    state: str
    content: Content | None = None
    error: ScrapeError | None = None
    delay: float = 0.0
    phases: Phases | None = None

    def row(self) -> Row:
        """The parameters of `statements.COMMIT` for this outcome."""
        formats = self.content.formats if self.content else {}
        return (
            self.claim.engine_id,
            self.claim.job_id,
            self.claim.token,
            self.state,
            self.error.code if self.error else "",
            self.error.message if self.error else "",
            self.delay,
            self._off_peak_at(),
            self.content.final_url if self.content else None,
            self.content.status_code if self.content else None,
            self.content.fetched_at if self.content else None,
            _json(formats.get("data")),
            formats.get("html"),
            formats.get("text"),
            _json(formats.get("links")),
            _json(formats.get("metadata")),
            orjson.dumps(self.phases.document() if self.phases else {}).decode(),
        )

    def _off_peak_at(self) -> datetime | None:
        """What a job must wait for that is to run in off-peak hours only, when it is to run again
        in others."""
        if self.state not in ("queued", "released"):
            return None
        return next_off_peak(datetime.now(UTC) + timedelta(seconds=self.delay))


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


@dataclass(slots=True)
class ResultBatcher:
    """One writer for all the scrapes of a worker process."""

    pool: asyncpg.Pool
    announcer: Announcer
    window: float = WINDOW
    pending: int = 0
    _waiting: list[tuple[Outcome, asyncio.Future[bool]]] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def commit(self, outcome: Outcome) -> bool:
        """Wait until the outcome is durable; False when its claim no longer held."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, future))
        self._arrived.set()
        self.pending += 1
        try:
            return await future
        finally:
            self.pending -= 1

    async def run(self) -> None:
        """Write batches until cancelled."""
        while True:
            await self._arrived.wait()
            if len(self._waiting) < LARGEST_BATCH:
                await asyncio.sleep(self.window)
            rows = self._next_rows()
            batch = self._waiting[: len(rows)]
            del self._waiting[: len(rows)]
            if not self._waiting:
                self._arrived.clear()
            try:
                await self._write(batch, rows)
            except BaseException as error:
                # Nobody must wait for what will not come: these jobs are lost to their leases.
                for _, future in batch:
                    if not future.done():
                        future.set_exception(LostOutcome(repr(error)))
                raise

    def _next_rows(self) -> list[Row]:
        """Rows of the outcomes that have waited longest: as many as fit into one statement."""
        rows: list[Row] = []
        size = 0
        for outcome, _ in self._waiting[:LARGEST_BATCH]:
            row = outcome.row()
            size += sum(len(value) for value in row if isinstance(value, str))
            if rows and size > LARGEST_STATEMENT:
                break
            rows.append(row)
        return rows

    async def _write(
        self, batch: list[tuple[Outcome, asyncio.Future[bool]]], rows: list[Row]
    ) -> None:
        committed = await self._store([outcome for outcome, _ in batch], rows)
        self.announcer.changed(
            (outcome.claim.client_id, outcome.claim.job_id, outcome.claim.batch_id)
            for outcome, _ in batch
        )
        for outcome, future in batch:
            held = outcome.claim.job_id in committed
            if not held:
                logger.warning(
                    "job %s: the claim was lost, outcome discarded", outcome.claim.job_id
                )
            if not future.done():
                future.set_result(held)

    async def _store(self, outcomes: list[Outcome], rows: list[Row]) -> set[UUID]:
        """The jobs whose outcome was stored; retries for as long as PostgreSQL is away."""
        columns = list(zip(*rows, strict=True))
        for delay in chain(RETRY_DELAYS, repeat(RETRY_DELAYS[-1])):
            try:
                stored = await self.pool.fetch(statements.COMMIT, *columns)
                break
            except REFUSED_DATA as error:
                return await self._store_one_by_one(outcomes, error)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                logger.warning("results wait for PostgreSQL (%s), again in %.1f s", error, delay)
                await asyncio.sleep(delay)
        return {row["id"] for row in stored}

    async def _store_one_by_one(self, outcomes: list[Outcome], error: Exception) -> set[UUID]:
        """Single out what PostgreSQL refuses, so that its neighbours are stored."""
        if len(outcomes) > 1:
            stored = [await self._store([outcome], [outcome.row()]) for outcome in outcomes]
            return set().union(*stored)
        (outcome,) = outcomes
        if outcome.state == "failed":
            raise error
        logger.error("job %s: result refused: %s", outcome.claim.job_id, error)
        failed = Outcome(outcome.claim, "failed", error=UnstorableResult())
        return await self._store([failed], [failed.row()])
