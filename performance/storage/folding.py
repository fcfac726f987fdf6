"""Messages folded into rows: what several processes said of one thing becomes one row."""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from performance.entry import Tally
from performance.recording.buffer import MOST_KEYS, OTHER
from performance.storage.periods import GRAINS, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from performance.entry import Message
    from performance.histogram import Histogram

Row = dict[str, Any]


class Told(NamedTuple):
    """A message, and when (Unix time) it came."""

    at: float
    message: Message

    @property
    def moment(self) -> datetime:
        """The same as PostgreSQL has it."""
        return datetime.fromtimestamp(self.at, UTC)


class Place(NamedTuple):
    """Which row of the aggregates a tally belongs to: the columns that make it unique."""

    type: str
    period: int
    instance: str
    bucket: datetime
    key: str


Tallies = dict[Place, Tally]
# All of a place but its key.
Group = tuple[str, int, str, datetime]


def fold(told: Iterable[Told]) -> Tallies:
    """All tallies by minute, of the fleet and of each process."""
    found: Tallies = {}
    for one in told:
        bucket = MINUTE.bucket(one.at)
        for (type, key), tally in one.message.tallies.items():
            for instance in ("", one.message.instance):
                take(found, Place(type, MINUTE.seconds, instance, bucket, key), tally)
    return found


def roll_up(minutes: Mapping[Place, Tally]) -> Tallies:
    """The same by the buckets of the longer windows; of processes only where those are kept."""
    found: Tallies = {}
    for place, tally in minutes.items():
        for period in GRAINS:
            if period is not MINUTE and (period.by_instance or not place.instance):
                bucket = period.bucket(place.bucket.timestamp())
                take(found, place._replace(period=period.seconds, bucket=bucket), tally)
    return found


def take(tallies: Tallies, place: Place, tally: Tally) -> None:
    """Add a tally to what is there at its place."""
    known = tallies.get(place)
    if known is None:
        known = tallies[place] = Tally()
    known.merge(tally)


def grouped(places: Iterable[Place]) -> dict[Group, list[Place]]:
    """Those that have a name of their own, by all but that."""
    groups: dict[Group, list[Place]] = defaultdict(list)
    for place in places:
        if place.key != OTHER:
            groups[place[:4]].append(place)
    return groups


def crowd_out(
    tallies: Tallies, new: Mapping[Group, list[Place]], taken: Mapping[Group, int]
) -> Tallies:
    """Take out the smallest of the new keys, where there are more than MOST_KEYS with those taken.

    They are added to the tally of OTHER; where there is none yet, that is returned.
    """
    others: Tallies = {}
    for group, places in new.items():
        room = max(MOST_KEYS - taken.get(group, 0), 0)
        if len(places) <= room:
            continue
        places.sort(key=lambda one: (tallies[one].sum, tallies[one].count), reverse=True)
        other = Place(*group, OTHER)
        for place in places[room:]:
            take(tallies if other in tallies else others, other, tallies.pop(place))
    return others


def place_rows(places: Iterable[Place]) -> list[Row]:
    """Rows of `statements.KNOWN_AGGREGATES`."""
    return [place._asdict() for place in places]


def aggregate_rows(tallies: Mapping[Place, Tally]) -> list[Row]:
    """Rows of `statements.UPSERT_AGGREGATES`."""
    return [
        {
            "type": place.type,
            "period": place.period,
            "instance": place.instance,
            "bucket": place.bucket,
            "key": place.key,
            "count": tally.count,
            "sum": tally.sum,
            "max": tally.max,
            "histogram": b64encode(msgpack.packb(tally.histogram)).decode(),
            "is_sampled": tally.is_sampled,
        }
        for place, tally in tallies.items()
    ]


def value_rows(told: Iterable[Told], now: float) -> list[Row]:
    """Rows of `statements.UPSERT_VALUES`: of each state the latest; its age is by their clock."""
    latest: dict[tuple[str, str], Row] = {}
    for one in told:
        instance = one.message.instance
        for type, document in one.message.values.items():
            latest[type, instance] = {
                "type": type,
                "instance": instance,
                "document": document,
                "age": max(now - one.at, 0.0),
            }
    return [latest[name] for name in sorted(latest)]


def subject_rows(told: Iterable[Told]) -> list[Row]:
    """Rows of `statements.UPSERT_SUBJECTS`: of each key the latest."""
    latest = {
        (subject.type, subject.key): {**subject._asdict(), "seen_at": one.moment}
        for one in told
        for subject in one.message.subjects
    }
    return [latest[name] for name in sorted(latest)]


def sample_rows(told: Iterable[Told]) -> list[Row]:
    """Rows of `statements.INSERT_SAMPLES`."""
    return [
        {
            "type": sample.type,
            "key": sample.key,
            "instance": one.message.instance,
            "value": sample.value,
            "recorded_at": datetime.fromtimestamp(sample.timestamp, UTC),
            "document": sample.document,
        }
        for one in told
        for sample in one.message.samples
    ]


def unpack(column: bytes) -> Histogram:
    """The histogram in a column."""
    found: Histogram = msgpack.unpackb(column, strict_map_key=False)
    return found
