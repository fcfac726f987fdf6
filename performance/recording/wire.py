"""Messages as bytes and back. Who can write to Valkey can write anything: nothing is believed."""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgpack

from performance.entry import LONGEST_KEY, Message, Name, Sample, Subject, Tally
from performance.histogram import HIGHEST, LOWEST

VERSION = 1
LARGEST_MESSAGE = 4_000_000
# Sums of larger numbers may be more than JSON has room for; a later moment is none of this century.
LARGEST_NUMBER = 1e15
LATEST = 2.0**32


class Garbage(ValueError):
    """Bytes that no process of this version has written."""


def packed(message: Message) -> bytes:
    """The message as msgpack; what is no character becomes a question mark."""
    tallies = [
        (*name, tally.count, tally.sum, tally.max, tally.histogram, tally.is_sampled)
        for name, tally in message.tallies.items()
    ]
    document = [
        VERSION, message.instance, tallies, message.samples, message.subjects, message.values
    ]  # fmt: skip
    return bytes(msgpack.packb(document, default=str, unicode_errors="replace"))


def unpacked(data: bytes) -> Message:
    """The message in these bytes. Raises Garbage."""
    if len(data) > LARGEST_MESSAGE:
        raise Garbage(f"{len(data)} bytes")
    try:
        document = msgpack.unpackb(data, strict_map_key=False)
        version, instance, tallies, samples, subjects, values = document
        if version != VERSION:
            raise Garbage(f"version {version!r}")
        return Message(
            _text(instance),
            dict(map(_tally, tallies)),
            list(map(_sample, samples)),
            list(map(_subject, subjects)),
            {_text(type): _plain(value) for type, value in values.items()},
        )
    except Garbage:
        raise
    except Exception as error:  # msgpack raises a dozen kinds for what is not its own
        raise Garbage(str(error)) from None


def _tally(row: Any) -> tuple[Name, Tally]:
    type, key, count, sum, largest, histogram, is_sampled = row
    places = {_place(place): _number(number) for place, number in histogram.items()}
    tally = Tally(_number(count), _number(sum), _number(largest), places, bool(is_sampled))
    return Name(_text(type), _text(key)), tally


def _sample(row: Any) -> Sample:
    type, key, value, timestamp, document = row
    if not 0 <= _number(timestamp) < LATEST:
        raise Garbage("not a moment")
    return Sample(_text(type), _text(key), _number(value), float(timestamp), _plain(document))


def _subject(row: Any) -> Subject:
    type, key, document = row
    return Subject(_text(type), _text(key), _plain(document))


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_KEY:
        raise Garbage("not a name")
    # PostgreSQL has no room for it.
    return value.replace("\0", "")


def _number(value: Any) -> float:
    # What is no number at all is not smaller than anything.
    if not isinstance(value, int | float) or not abs(value) <= LARGEST_NUMBER:
        raise Garbage("not a number")
    return float(value)


def _place(value: Any) -> int:
    if not isinstance(value, int) or not LOWEST <= value <= HIGHEST:
        raise Garbage("not a place")
    return value


def _plain(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Garbage("not a document")
    document: dict[str, Any] = _storable(value)
    return document


def _storable(value: Any) -> Any:
    """As JSON has it, without the character that PostgreSQL has no room for."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {str(key).replace("\0", ""): _storable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_storable(one) for one in value]
    if value is None or (isinstance(value, int | float) and isfinite(value)):
        return value
    raise Garbage("not plain data")
