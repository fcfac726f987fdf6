"""Keys: whatever differs has another one, and whatever is the same has the same."""

import fnmatch
import math
import re
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachelayer.keys import entry_key, lock_key, pattern, tag_key


class Colour(StrEnum):
    RED = "red"


class Paint(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Shape(Enum):
    POINT = (0, 0)


class Label(str):
    __slots__ = ()


Pair = namedtuple("Pair", "a b")

LOOKALIKES = [
    *(1, "1", True, 1.0, b"1", Number.ONE, [1], ["1"], {1: 1}),
    *(0, 0.0, -0.0, False, None, "", b"", [], {}),
]
NIL = UUID(int=0)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.datetimes(timezones=st.none() | st.just(UTC))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def key(*parts, generations=()):
    return entry_key("cache", "jobs.list", 3, parts, generations)


def identity(value):
    """The value with its types, comparable with ==."""
    if isinstance(value, list):
        return [identity(item) for item in value]
    if isinstance(value, dict):
        return {name: identity(item) for name, item in value.items()}
    sign = math.copysign(1, value) if isinstance(value, float) else None
    return type(value).__name__, value, sign


def test_a_key_is_a_readable_head_and_a_hash():
    assert re.fullmatch(r"cache:jobs\.list:v3:[0-9a-f]{32}", key("a", 1))


def test_a_key_does_not_change_between_releases():
    """If it must, all of level 2 goes cold at once: say so in the changelog."""
    assert key("a", 1, None).endswith(":5478612ad6cd56a9fa94f5a918136cb1")


@pytest.mark.parametrize(
    ("one", "other"),
    list(combinations(LOOKALIKES, 2)),
)
def test_values_of_other_types_have_other_keys(one, other):
    assert key(one) != key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "bc"), ("ab", "c")),
        (("a",), ("a", "")),
        ((["a"], "b"), (["a", "b"],)),
        (("s1:a",), ("a",)),
        ((1, 23), (12, 3)),
        (({"a": "b"},), (["a", "b"],)),
        (({"a": {"b": 1}},), ({"a": {}, "b": 1},)),
        ((NIL,), (str(NIL),)),
        ((NOON,), (NOON.replace(tzinfo=None),)),
        ((NOON,), (NOON.isoformat(),)),
        (("é",), ("é".encode(),)),
        ((Colour.RED,), ("red",)),
        ((Colour.RED,), (Paint.RED,)),
    ],
)
def test_parts_cannot_run_into_each_other(one, other):
    assert key(*one) != key(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, "a"], (1, "a")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, OrderedDict(a=1)),
        (NOON, NOON.astimezone(timezone(timedelta(hours=5)))),
        (Pair(1, 2), (1, 2)),
        (Label("a"), "a"),
    ],
)
def test_what_means_the_same_has_the_same_key(one, other):
    assert key(one) == key(other)


@given(values, values)
def test_two_values_have_one_key_only_if_they_are_one_value(one, other):
    assert (key(one) == key(other)) == (identity(one) == identity(other))


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_generations_are_no_parts(parts, generations):
    together = key(*parts, *generations)
    assert (key(*parts, generations=generations) == together) == (not generations)


def test_a_new_generation_is_a_new_key():
    assert key("a", generations=["1"]) != key("a", generations=["2"])


def test_namespaces_and_versions_part_keys():
    keys = {entry_key("cache", name, version, ("a",)) for name in "ab" for version in (1, 2)}
    assert len(keys) == 4


@pytest.mark.parametrize(
    "part",
    [
        "\ud800",
        [10**5000],
        float("nan"),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        Shape.POINT,
    ],
)
def test_odd_values_are_parts_too(part):
    assert key(part) == key(part)


@pytest.mark.parametrize("part", [Decimal(1), date(2026, 1, 1), {1}, object(), int, [object()]])
def test_other_types_are_refused_with_advice(part):
    with pytest.raises(TypeError, match="pass what identifies it"):
        key(part)


@pytest.mark.parametrize("namespace", ["", "a:b", "@tag", "a b", "a*", "a\n"])
def test_a_namespace_that_could_be_mistaken_is_refused(namespace):
    with pytest.raises(ValueError, match="is no namespace"):
        entry_key("cache", namespace, 1, ("a",))


def test_tags_and_locks_are_apart_from_entries():
    assert tag_key("cache", "a") == "cache:@tag:a"
    assert lock_key("cache", key("a")).startswith("cache:@lock:cache:jobs.list:v3:")


def test_locks_of_two_entries_differ():
    assert lock_key("cache", key("a")) != lock_key("cache", key("b"))


def test_a_pattern_finds_every_version_of_its_namespace_only():
    glob = pattern("cache", "jobs")
    assert fnmatch.fnmatchcase(entry_key("cache", "jobs", 12, ("a",)), glob)
    assert not fnmatch.fnmatchcase(entry_key("cache", "jobs.list", 1, ("a",)), glob)
    assert not fnmatch.fnmatchcase(tag_key("cache", "jobs"), glob)


def test_a_pattern_escapes_what_globs_mean():
    assert pattern("a*b?", r"[c]\d") == r"a\*b\?:\[c\]\\d:v*"
