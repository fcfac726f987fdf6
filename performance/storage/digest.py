"""From the stream to the tables: one process of the fleet at a time reads, folds and writes.

What is read is marked as read in the transaction that stores it, so that it counts once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from django.db import connection, transaction

from performance.entry import Tally
from performance.models import Cursor
from performance.recording.stream import START
from performance.recording.wire import Garbage, unpacked
from performance.storage import folding, statements
from performance.storage.folding import Place, Tallies, Told
from performance.storage.periods import MINUTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.recording.stream import Stream
    from performance.storage.folding import Row

logger = logging.getLogger(__name__)

MOST_MESSAGES = 500
# Cursors: how far the stream was read, and up to which minute the longer windows are complete.
STREAM = "stream"
ROLLED = "rolled"
FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Digest:
    """Reads one stream. `garbage` counts what was in it that no process of ours has written.

    It remembers the minute that it wrote last, so as not to read it again every few seconds; what
    it remembers is right for as long as nobody else has moved the position.
    """

    stream: Stream
    garbage: int = 0
    _position: str = START
    _minute: Tallies = field(default_factory=dict)

    def run(self) -> int:
        """Digest what there is, at most MOST_MESSAGES; returns how many.

        Nothing when another process is at it. Raises Unavailable and django.db.Error.
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statements.TRY_LOCK)
            if not cursor.fetchone()[0]:
                return 0
            before = position_of(STREAM)
            if before is not None and order(self.stream.last()) < order(before):
                # Another Valkey, whose clock is behind the one that this was read from.
                before = None
            position = before or START
            found = list(self.stream.read(position, MOST_MESSAGES))
            if found:
                position = found[-1][0]
                told = [told for one in found if (told := self._told(*one))]
                self._store(told, is_known=before == self._position)
                roll_up_minutes(before=MINUTE.bucket(order(position)[0] / 1000))
                Cursor.objects.update_or_create(name=STREAM, defaults={"position": position})
        if position != START:
            self._position = position
            self.stream.remove(position)
        return len(found)

    def _told(self, message_id: str, data: bytes) -> Told | None:
        try:
            return Told(order(message_id)[0] / 1000, unpacked(data))
        except Garbage as error:
            self.garbage += 1
            logger.warning("a message about performance is not readable: %s", error)
            return None

    def _store(self, told: list[Told], *, is_known: bool) -> None:
        tallies = folding.fold(told)
        known = self._minute if is_known else {}
        # Until this is committed nothing is remembered: it may be rolled back.
        self._minute = {}
        merge_known(tallies, known)
        write(statements.UPSERT_AGGREGATES, folding.aggregate_rows(tallies))
        write(statements.UPSERT_VALUES, folding.value_rows(told))
        write(statements.UPSERT_SUBJECTS, folding.subject_rows(told))
        write(statements.INSERT_SAMPLES, folding.sample_rows(told))
        latest = max((place.bucket for place in tallies), default=None)
        kept = {**known, **tallies}
        self._minute = {place: tally for place, tally in kept.items() if place.bucket == latest}


def merge_known(tallies: Tallies, known: Tallies) -> None:
    """Add to each tally what was there before: as `known` has it, else as PostgreSQL does."""
    unknown = [place for place in tallies if place not in known]
    for place in tallies.keys() & known.keys():
        tallies[place].merge(known[place])
    for row in read(statements.KNOWN_AGGREGATES, folding.place_rows(unknown)):
        tallies[Place(*row[:5])].merge(tally_of(row[5:]))


def roll_up_minutes(*, before: datetime) -> None:
    """Add the minutes that are over to the longer windows, each once.

    A minute is over when the stream has gone on to the next: its messages come in order.
    """
    done = position_of(ROLLED)
    begin = datetime.fromisoformat(done) if done else FIRST
    if begin >= before:
        return
    with connection.cursor() as cursor:
        cursor.execute(statements.MINUTES, [MINUTE.seconds, begin, before])
        minutes = {
            Place(type, MINUTE.seconds, instance, bucket, key): tally_of(rest)
            for type, instance, bucket, key, *rest in cursor.fetchall()
        }
    tallies = folding.roll_up(minutes)
    merge_known(tallies, {})
    write(statements.UPSERT_AGGREGATES, folding.aggregate_rows(tallies))
    Cursor.objects.update_or_create(name=ROLLED, defaults={"position": before.isoformat()})


def tally_of(columns: Sequence[Any]) -> Tally:
    """The tally in a row: count, sum, max, histogram, is_sampled."""
    count, total, largest, histogram, is_sampled = columns
    return Tally(count, total, largest, folding.unpack(bytes(histogram)), is_sampled)


def position_of(name: str) -> str | None:
    """Where a cursor stands."""
    return Cursor.objects.filter(name=name).values_list("position", flat=True).first()


def order(message_id: str) -> tuple[int, int]:
    """What ids are compared by: milliseconds, and a number within them."""
    milliseconds, _, number = message_id.partition("-")
    return int(milliseconds), int(number)


def read(statement: str, rows: list[Row]) -> list[tuple[Any, ...]]:
    """What a statement that takes rows as JSON finds."""
    if not rows:
        return []
    with connection.cursor() as cursor:
        cursor.execute(statement, [orjson.dumps(rows).decode()])
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def write(statement: str, rows: list[Row]) -> None:
    """Run a statement that takes rows as JSON."""
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(statement, [orjson.dumps(rows).decode()])
