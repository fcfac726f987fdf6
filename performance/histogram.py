"""A histogram that any number of processes fill and anybody adds up.

Places grow by a constant factor, so that a percentile is off by a few per cent at most, whatever
the unit: the idea of DDSketch (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile
sketch with relative-error guarantees", 2019), with a dictionary for what little is in use.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Eight places for each doubling: a percentile is at most 4.4 % off.
PLACES_PER_DOUBLING = 8
LOWEST, HIGHEST = -80, 320

# Where each place but the lowest begins.
BOUNDS = [2.0 ** (place / PLACES_PER_DOUBLING) for place in range(LOWEST + 1, HIGHEST + 1)]

# Place to how many.
Histogram = dict[int, float]


def place_of(value: float) -> int:
    """Where a value belongs; all below 2⁻¹⁰ share the lowest place, all above 2⁴⁰ the highest."""
    return LOWEST + bisect_right(BOUNDS, value)


def add_values(histogram: Histogram, values: Sequence[float]) -> None:
    """Take in each value once."""
    for steps, number in Counter(map(partial(bisect_right, BOUNDS), values)).items():
        place = LOWEST + steps
        histogram[place] = histogram.get(place, 0) + number


def value_of(place: int) -> float:
    """The middle of a place, 0 for the lowest."""
    return 0.0 if place <= LOWEST else 2.0 ** ((place + 0.5) / PLACES_PER_DOUBLING)


def percentiles(histogram: Histogram, shares: Sequence[float]) -> list[float]:
    """For each share (0 to 1, ascending) the value that so many are not above; 0 of nothing."""
    number, place = sum(histogram.values()), LOWEST
    found: list[float] = []
    so_far = 0.0
    for place in sorted(histogram):
        so_far += histogram[place]
        while len(found) < len(shares) and so_far >= shares[len(found)] * number:
            found.append(value_of(place))
    # Sums of fractions may fall short of the whole.
    return found + [value_of(place)] * (len(shares) - len(found))


def percentile(histogram: Histogram, share: float) -> float:
    """The value that `share` (0 to 1) of all are not above; 0 when there are none."""
    return percentiles(histogram, [share])[0]


def add(into: Histogram, other: Histogram) -> None:
    """Take in another one."""
    if not into:
        into.update(other)
        return
    for place, count in other.items():
        into[place] = into.get(place, 0) + count
