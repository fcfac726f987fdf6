"""From the stream to the tables: one process of the fleet at a time reads, folds and writes.

What is read is marked as read in the transaction that stores it, so that it counts once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from time import time
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
# Seconds that Valkey's clock may be ahead of this process's: what comes later has a made-up id.
AHEAD = 86_400.0
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

    def run(self, most: int = MOST_MESSAGES) -> int:
        """Digest what there is, at most so many messages; returns how many.

        Nothing when another process is at it. Raises Unavailable and django.db.Error.
        """
        minute: Tallies = {}
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statements.TRY_LOCK)
            if not cursor.fetchone()[0]:
                return 0
            before = Cursor.at(STREAM)
            last = self.stream.last()
            if before is not None and order(last) < order(before):
                # Another Valkey, whose clock is behind the one that this was read from.
                before = None
            position = before or START
            known = self._minute if before == self._position else {}
            found = list(self.stream.read(position, most))
            if found:
                position = found[-1][0]
                told = [told for one in found if (told := self._told(*one))]
                minute = store(told, known, now=self.stream.now())
                if told:
                    roll_up_minutes(before=MINUTE.bucket(told[-1].at))
                Cursor.move(STREAM, position)
        # Remembered once it is committed: what fails before is read and merged again.
        if found:
            self._position, self._minute = position, minute
        if is_ahead(position):
            # Valkey would go on from there: all that comes would be from the future too.
            self.stream.clear()
        elif position != START:
            self.stream.remove(position)
        return len(found)

    def _told(self, message_id: str, data: bytes) -> Told | None:
        try:
            if is_ahead(message_id):
                raise Garbage("it is from the future")
            return Told(order(message_id)[0] / 1000, unpacked(data))
        except Garbage as error:
            self.garbage += 1
            logger.warning("a message about performance is not readable: %s", error)
            return None


def store(told: list[Told], known: Tallies, now: float) -> Tallies:
    """Write what was told, with what is `known` of it; returns its latest minute as it is then.

    `now` is by the clock that the messages' times are by.
    """
    tallies = folding.fold(told)
    merge_known(tallies, known)
    write(statements.UPSERT_AGGREGATES, folding.aggregate_rows(tallies))
    write(statements.UPSERT_VALUES, folding.value_rows(told, now))
    write(statements.UPSERT_SUBJECTS, folding.subject_rows(told))
    write(statements.INSERT_SAMPLES, folding.sample_rows(told))
    latest = max((place.bucket for place in tallies), default=None)
    kept = {**known, **tallies}
    return {place: tally for place, tally in kept.items() if place.bucket == latest}


def merge_known(tallies: Tallies, known: Tallies) -> None:
    """Add to each tally what was there before: as `known` has it, else as PostgreSQL does.

    New keys for which there is no room become one.
    """
    new = tallies.keys() - known.keys()
    for place in tallies.keys() & known.keys():
        tallies[place].merge(known[place])
    for row in read(statements.KNOWN_AGGREGATES, folding.place_rows(new)):
        place = Place(*row[:5])
        tallies[place].merge(tally_of(row[5:]))
        new.discard(place)
    groups = folding.grouped(new)
    wanted = folding.place_rows(Place(*group, "") for group in groups)
    taken = {row[:4]: row[4] for row in read(statements.TAKEN, wanted)}
    others = folding.crowd_out(tallies, groups, taken)
    if others:
        merge_known(others, known)
        tallies.update(others)


def roll_up_minutes(*, before: datetime) -> None:
    """Add the minutes that are over to the longer windows, each once.

    A minute is over when the stream has gone on to the next: its messages come in order.
    """
    done = Cursor.at(ROLLED)
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
    Cursor.move(ROLLED, before.isoformat())


def tally_of(columns: Sequence[Any]) -> Tally:
    """The tally in a row: count, sum, max, histogram, is_sampled."""
    count, total, largest, histogram, is_sampled = columns
    return Tally(count, total, largest, folding.unpack(bytes(histogram)), is_sampled)


def is_ahead(message_id: str) -> bool:
    """Whether that id was not given by a clock."""
    return order(message_id)[0] / 1000 > time() + AHEAD


def age_of(name: str) -> float:
    """Seconds since the message came that a cursor stands at; infinite before any."""
    position = Cursor.at(name)
    return time() - order(position)[0] / 1000 if position else inf


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
