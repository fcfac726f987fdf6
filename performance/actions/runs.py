"""Actions as they are asked for, done and remembered: each once, whoever clicks how often.

A run is an entry of Django's log: who asked for what, with which arguments, and what came of it. It
is done by a thread of the process that was asked, in a session of its own. That holds two advisory
locks: one on the action's target, so that nobody else does the same meanwhile, and one that tells
the others that the run is alive. Both are gone with the process.
"""

from __future__ import annotations

import json
import logging
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone

from cachelayer.remote import Unavailable
from performance.actions.shapes import Refused, Work
from performance.analysis.postgresql.rows import rows
from performance.recording.rescue import unobserved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.utils import CursorWrapper

    from performance.actions.shapes import Action

logger = logging.getLogger(__name__)

PREFIX = "action "
MOST_SHOWN = 20
# Each has a session that no pool and no budget knows of: so many at once in a process.
MOST_AT_ONCE = 3
# For so long it may seem gone, beside what it may take to connect.
BEGINS_WITHIN = timedelta(seconds=15)
TELL_EVERY = 1.0
TOO_MANY = (
    f"This process does {MOST_AT_ONCE} other actions at the moment: nothing was done. Ask again "
    "when one of them has ended."
)

ASK_ONCE = "SELECT pg_advisory_xact_lock(hashtext('performance.ask'), hashtext(%s))"
TAKE_TARGET = "SELECT pg_try_advisory_lock(hashtext('performance.action'), hashtext(%s))"
LIVE = "SELECT pg_advisory_lock(hashtext('performance.run'), hashtext(%s))"
# The session that does a run. Keys are signed where they are taken and not where they are shown.
SESSION = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = hashtext('performance.run')::bigint & 4294967295
    AND objid::bigint = hashtext(%s)::bigint & 4294967295
"""
PROGRESS = """
SELECT phase, heap_blks_scanned, heap_blks_total FROM pg_stat_progress_vacuum WHERE pid = %s
UNION ALL
SELECT phase, sample_blks_scanned, sample_blks_total FROM pg_stat_progress_analyze WHERE pid = %s
UNION ALL
SELECT phase, blocks_done, blocks_total FROM pg_stat_progress_create_index WHERE pid = %s
"""


class Progress(NamedTuple):
    """How far PostgreSQL is, in blocks of 8 kB."""

    phase: str
    done: int
    blocks: int

    @property
    def text(self) -> str:
        """As a person reads it."""
        return f"{self.phase}: {100 * self.done / self.blocks:.0f} %" if self.blocks else self.phase


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands: `state` is running, done, refused, failed or interrupted.

    `outcome` says what came of it, or how far it is; `seconds` is what it took, None while it runs.
    """

    id: UUID
    action: str
    arguments: dict[str, Any]
    by: str
    asked_at: datetime
    state: str
    outcome: str
    seconds: float | None

    @property
    def is_running(self) -> bool:
        """Whether there is more to come."""
        return self.state == "running"


def ask(action: Action, run_id: UUID, *, user_id: int, by: str) -> bool:
    """Have it done once the current transaction has committed; False when that id was there before.

    `user_id` is whose history it goes to, `by` who asked, as people read it.
    """
    document = {
        "action": action.name,
        "arguments": action.model_dump(mode="json"),
        "by": by,
        "state": "running",
        "outcome": "",
    }
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(ASK_ONCE, [str(run_id)])
        if _entry(run_id) is not None:
            return False
        LogEntry.objects.create(
            user_id=user_id,
            object_id=str(run_id),
            object_repr=f"{PREFIX}{action.name} {action.target}"[:200],
            action_flag=CHANGE,
            change_message=json.dumps(document),
        )
        performer = Performer(action, run_id, user_id)
        transaction.on_commit(performer.start)
    return True


def run_of(run_id: UUID) -> Run | None:
    """The run, if anybody has ever asked for it."""
    entry = _entry(run_id)
    return None if entry is None else _run(entry)


def latest() -> list[Run]:
    """The newest runs first."""
    found = LogEntry.objects.filter(content_type=None, object_repr__startswith=PREFIX)
    return [_run(entry) for entry in found.order_by("-action_time")[:MOST_SHOWN]]


def _entry(run_id: UUID) -> LogEntry | None:
    # What is of no content type is the console's, so that few entries are read.
    found = LogEntry.objects.filter(content_type=None, object_id=str(run_id))
    return found.filter(object_repr__startswith=PREFIX).first()


def _run(entry: LogEntry) -> Run:
    document: dict[str, Any] = json.loads(entry.change_message)
    state, outcome = document["state"], document["outcome"]
    if state == "running":
        state, outcome = _live(entry, outcome)
    return Run(
        UUID(entry.object_id),
        document["action"],
        document["arguments"],
        document["by"],
        entry.action_time,
        state,
        outcome,
        document.get("seconds"),
    )


def _live(entry: LogEntry, told: str) -> tuple[str, str]:
    """Whether somebody is still at it, and how far."""
    sessions: list[int] = rows(int, SESSION, [entry.object_id])
    if sessions:
        progress = rows(Progress, PROGRESS, sessions[:1] * 3)
        return "running", progress[0].text if progress else told
    patience = timedelta(seconds=settings.DB_CONNECT_RETRY)
    if timezone.now() - entry.action_time < patience + BEGINS_WITHIN:
        return "running", told
    return "interrupted", "The process that did it is gone. See what is there, and do it again."


# Of this process: whoever has none does nothing.
places = threading.BoundedSemaphore(MOST_AT_ONCE)


class Performer(threading.Thread):
    """Does one run, and writes down what came of it."""

    def __init__(self, action: Action, run_id: UUID, user_id: int) -> None:
        """A daemon: what it does in PostgreSQL ends with its session."""
        super().__init__(name=f"action {run_id}", daemon=True)
        self._action = action
        self._run_id = str(run_id)
        self._user_id = user_id
        self._told_at = 0.0

    def run(self) -> None:
        """Do it."""
        began = monotonic()
        with unobserved():
            try:
                with ExitStack() as held:
                    state, outcome = self._end(held)
                    seconds = round(monotonic() - began, 3)
                    # Before its session ends, by which others see that it is alive.
                    self._write(state=state, outcome=outcome, seconds=seconds)
            except Exception:
                # Without PostgreSQL nothing can be written down: the run shows as interrupted.
                logger.exception("action %s: its outcome is lost", self._action.name)
            finally:
                connections.close_all()

    def _end(self, held: ExitStack) -> tuple[str, str]:
        """What came of it; its session is `held` on."""
        if not places.acquire(blocking=False):
            return "refused", TOO_MANY
        held.callback(places.release)
        try:
            cursor = held.enter_context(session())
            cursor.execute(LIVE, [self._run_id])
        except DatabaseError as error:
            said = str(error).splitlines()[0]
            return "failed", f"PostgreSQL gave it no session, so nothing was done: {said}"
        return self._do(cursor)

    def _do(self, cursor: CursorWrapper) -> tuple[str, str]:
        try:
            cursor.execute(TAKE_TARGET, [self._action.target])
            if not cursor.fetchone()[0]:
                return "refused", "Somebody is at the same already: nothing was done."
            return "done", self._action.run(Work(cursor, self._user_id, self._tell))
        except Refused as refusal:
            return "refused", str(refusal)
        except DatabaseError as error:
            return "failed", f"PostgreSQL: {str(error).splitlines()[0]}"
        except Unavailable as error:
            return "failed", f"Valkey does not answer: {error}"
        except Exception as error:
            logger.exception("action %s", self._action.name)
            return "failed", f"{type(error).__name__}: the log has the details."

    def _tell(self, progress: str) -> None:
        if monotonic() - self._told_at >= TELL_EVERY:
            self._told_at = monotonic()
            self._write(outcome=progress)

    def _write(self, **changes: Any) -> None:
        entry = LogEntry.objects.get(content_type=None, object_id=self._run_id)
        entry.change_message = json.dumps(json.loads(entry.change_message) | changes)
        entry.save(update_fields=["change_message"])


@contextmanager
def session() -> Iterator[CursorWrapper]:
    """A session of its own: no transaction, and none of the pool's connections is missed."""
    own = connection.copy()
    own.settings_dict["OPTIONS"] = {**own.settings_dict["OPTIONS"], "pool": False}
    try:
        with own.cursor() as cursor:
            yield cursor
    finally:
        own.close()
