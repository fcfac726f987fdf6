"""From the stream to the tables: one process of the fleet at a time reads, folds and writes.

What is read is marked as read in the transaction that stores it, so that it counts once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connection, transaction

from performance.entry import Tally
from performance.models import Cursor
from performance.recording.stream import START
from performance.recording.wire import Garbage, unpacked
from performance.storage import folding, statements
from performance.storage.folding import Place, Told

if TYPE_CHECKING:
    from performance.recording.stream import Stream
    from performance.storage.folding import Row

logger = logging.getLogger(__name__)

MOST_MESSAGES = 500
CURSOR = "stream"


@dataclass(slots=True)
class Digest:
    """Reads one stream. `garbage` counts what was in it that no process of ours has written."""

    stream: Stream
    garbage: int = 0

    def run(self) -> int:
        """Digest what there is, at most MOST_MESSAGES; returns how many.

        Nothing when another process is at it. Raises Unavailable and django.db.Error.
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statements.TRY_LOCK)
            if not cursor.fetchone()[0]:
                return 0
            position = self._position()
            found = list(self.stream.read(position, MOST_MESSAGES))
            if found:
                position = found[-1][0]
                self._store([told for one in found if (told := self._told(*one))])
                Cursor.objects.update_or_create(name=CURSOR, defaults={"position": position})
        if position != START:
            self.stream.remove(position)
        return len(found)

    def _position(self) -> str:
        position = Cursor.objects.filter(name=CURSOR).values_list("position", flat=True).first()
        if position is None or order(self.stream.last()) < order(position):
            # Another Valkey, whose clock is behind the one that this was read from.
            return START
        return position

    def _told(self, message_id: str, data: bytes) -> Told | None:
        try:
            return Told(order(message_id)[0] / 1000, unpacked(data))
        except Garbage as error:
            self.garbage += 1
            logger.warning("a message about performance is not readable: %s", error)
            return None

    def _store(self, told: list[Told]) -> None:
        tallies = folding.fold(told)
        for row in read(statements.KNOWN_AGGREGATES, list(tallies)):
            count, sum, largest, histogram, is_sampled = row[5:]
            known = Tally(count, sum, largest, folding.unpack(histogram), is_sampled)
            tallies[Place(*row[:5])].merge(known)
        write(statements.UPSERT_AGGREGATES, folding.aggregate_rows(tallies))
        write(statements.UPSERT_VALUES, folding.value_rows(told))
        write(statements.UPSERT_SUBJECTS, folding.subject_rows(told))
        write(statements.INSERT_SAMPLES, folding.sample_rows(told))


def order(message_id: str) -> tuple[int, int]:
    """What ids are compared by: milliseconds, and a number within them."""
    milliseconds, _, number = message_id.partition("-")
    return int(milliseconds), int(number)


def read(statement: str, rows: list[Place]) -> list[Row]:
    """What a statement that takes one array a column finds for these rows."""
    if not rows:
        return []
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)])
        found: list[Row] = cursor.fetchall()
        return found


def write(statement: str, rows: list[Row]) -> None:
    """Run a statement that takes one array a column."""
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)])
