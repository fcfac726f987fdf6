"""A histogram tells percentiles closely, and does not mind who filled which part of it."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from performance.entry import Tally
from performance.histogram import HIGHEST, LOWEST, add, percentile, place_of

NUMBERS = st.lists(st.floats(min_value=0.01, max_value=1e9), min_size=1, max_size=200)


def tally_of(numbers):
    tally = Tally()
    for number in numbers:
        tally.add(number)
    return tally


@given(NUMBERS, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_at_most_a_few_per_cent_off(numbers, share):
    exact = sorted(numbers)[ceil(len(numbers) * share) - 1]
    assert percentile(tally_of(numbers).histogram, share) == pytest.approx(exact, rel=0.045)


@given(NUMBERS, NUMBERS)
def test_two_histograms_together_are_the_histogram_of_both(first, second):
    both = tally_of(first).histogram
    add(both, tally_of(second).histogram)
    assert both == tally_of(first + second).histogram


@pytest.mark.parametrize(("value", "place"), [(0, LOWEST), (-1, LOWEST), (1e300, HIGHEST)])
def test_what_is_out_of_range_has_a_place_at_the_edge(value, place):
    assert place_of(value) == place


def test_of_nothing_every_percentile_is_zero():
    assert percentile({}, 0.95) == 0


def test_an_entry_that_stands_for_four_counts_four_times_and_says_so():
    tally = tally_of([10.0])
    tally.add(30.0, weight=4)
    assert (tally.count, tally.sum, tally.max, tally.is_sampled) == (5, 130, 30, True)
    assert percentile(tally.histogram, 0.5) == pytest.approx(30, rel=0.05)
