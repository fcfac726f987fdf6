"""The one shape of everything that is recorded, and how much of it fits into a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from performance.histogram import Histogram, add, add_values, place_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# Longer keys are cut: a key is an identity, what it stands for is a Subject.
LONGEST_KEY = 200


class Name(NamedTuple):
    """What was recorded: a `type`, as `request`, and which one of its kind, as a route."""

    type: str
    key: str


@dataclass(slots=True)
class Tally:
    """Entries of one name, folded: how many, their sum and largest, and how they are spread.

    `count` and `sum` are extrapolated when only some entries were looked at (`is_sampled`).
    Values are milliseconds, bytes or plain numbers, as the type says. What has no percentiles has
    an empty `histogram`.
    """

    count: float = 0.0
    sum: float = 0.0
    max: float = 0.0
    histogram: Histogram = field(default_factory=dict)
    is_sampled: bool = False

    def add(self, value: float, weight: float = 1.0) -> None:
        """An entry that stands for `weight` of its like."""
        self.count += weight
        self.sum += value * weight
        self.max = max(self.max, value)
        place = place_of(value)
        self.histogram[place] = self.histogram.get(place, 0) + weight
        if weight != 1.0:
            self.is_sampled = True

    def add_all(self, values: Sequence[float]) -> None:
        """Entries, at least one, each of which stands for itself."""
        self.count += len(values)
        self.sum += sum(values)
        self.max = max(self.max, *values)
        add_values(self.histogram, values)

    def merge(self, other: Tally) -> None:
        """Take in what another has counted."""
        self.count += other.count
        self.sum += other.sum
        self.max = max(self.max, other.max)
        add(self.histogram, other.histogram)
        self.is_sampled = self.is_sampled or other.is_sampled


class Sample(NamedTuple):
    """One entry kept whole, as evidence: when (Unix time) it was, and plain data about it."""

    type: str
    key: str
    value: float
    timestamp: float
    document: dict[str, Any]


class Subject(NamedTuple):
    """What a key stands for, when that is more than its text: plain data, the latest wins."""

    type: str
    key: str
    document: dict[str, Any]


@dataclass(slots=True)
class Message:
    """What one process says about a second or so of its life.

    `values` are its present states by type, as of its pools. When it was is the stream's to say,
    for that is one clock for the whole fleet.
    """

    instance: str
    tallies: dict[Name, Tally] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
