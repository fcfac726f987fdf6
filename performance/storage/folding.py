"""Messages folded into rows: what several processes said of one thing becomes one row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import orjson

from performance.entry import Tally
from performance.storage.periods import PERIODS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from performance.entry import Message
    from performance.histogram import Histogram

Row = tuple[Any, ...]


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


def fold(told: Iterable[Told]) -> dict[Place, Tally]:
    """All tallies, by where they belong: windows of the fleet, the short ones by process too."""
    found: dict[Place, Tally] = {}
    for one in told:
        for period in PERIODS.values():
            bucket = period.bucket(one.at)
            instances = ("", one.message.instance) if period.by_instance else ("",)
            for (type, key), tally in one.message.tallies.items():
                for instance in instances:
                    place = Place(type, period.seconds, instance, bucket, key)
                    found.setdefault(place, Tally()).merge(tally)
    return found


def aggregate_rows(tallies: dict[Place, Tally]) -> list[Row]:
    """Rows of `statements.UPSERT_AGGREGATES`."""
    return [
        (*place, tally.count, tally.sum, tally.max, pack(tally.histogram), tally.is_sampled)
        for place, tally in sorted(tallies.items())
    ]


def value_rows(told: Iterable[Told]) -> list[Row]:
    """Rows of `statements.UPSERT_VALUES`: of each state the latest."""
    latest = {
        (type, one.message.instance): (_json(document), one.moment)
        for one in told
        for type, document in one.message.values.items()
    }
    return [(*name, *rest) for name, rest in sorted(latest.items())]


def subject_rows(told: Iterable[Told]) -> list[Row]:
    """Rows of `statements.UPSERT_SUBJECTS`: of each key the latest."""
    latest = {
        (subject.type, subject.key): (_json(subject.document), one.moment)
        for one in told
        for subject in one.message.subjects
    }
    return [(*name, *rest) for name, rest in sorted(latest.items())]


def sample_rows(told: Iterable[Told]) -> list[Row]:
    """Rows of `statements.INSERT_SAMPLES`."""
    return [
        (
            sample.type, sample.key, one.message.instance, sample.value,
            datetime.fromtimestamp(sample.timestamp, UTC), _json(sample.document),
        )
        for one in told
        for sample in one.message.samples
    ]  # fmt: skip


def pack(histogram: Histogram) -> bytes:
    """A histogram as a column has it."""
    return bytes(msgpack.packb(histogram))


def unpack(column: bytes) -> Histogram:
    """The histogram in a column."""
    found: Histogram = msgpack.unpackb(column, strict_map_key=False)
    return found


def _json(document: dict[str, Any]) -> str:
    return orjson.dumps(document).decode()
