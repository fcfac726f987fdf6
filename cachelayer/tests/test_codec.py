"""Entries as bytes: what goes in comes out, and nothing else is believed."""

import pickle
import struct
import tracemalloc
import zlib
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachelayer import codec
from cachelayer.codec import (
    LARGEST_BODY,
    CorruptEntry,
    Entry,
    EntryTooLarge,
    UnsupportedValue,
    decode,
    encode,
)

zstd = codec.zstd  # type: ignore[attr-defined]
NEVER = LARGEST_BODY
moments = st.floats(min_value=0, max_value=1e11)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.decimals(allow_nan=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 99), inner),
    max_leaves=20,
)
entries = st.builds(Entry, values, moments, moments, moments, st.booleans())


def entry(value):
    return Entry(value, 1.0, 2.0, 3.0)


def planted(body, *, flags=0, size=None, version=1):
    """What somebody writes who knows the format."""
    size = len(body) if size is None else size
    head = struct.pack(">3sBBdddI", b"\xc1CL", version, flags, 1.0, 2.0, 3.0, size)
    return head + struct.pack(">I", zlib.crc32(body + head)) + body


def same_types(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return all(map(same_types, one, other))
    if isinstance(one, dict):
        return all(map(same_types, one.values(), other.values()))
    return True


@given(entries, st.sampled_from([0, 64, NEVER]))
def test_what_is_encoded_comes_back(found, compress_above):
    back = decode(encode(found, compress_above=compress_above))
    assert back == found
    assert same_types(back.value, found.value)


def test_an_entry_is_fresh_then_stale_then_gone():
    found = Entry("value", created=0.0, fresh_until=10.0, expires=20.0)
    states = [(found.is_fresh(now), found.is_usable(now)) for now in (9.9, 10.0, 19.9, 20.0)]
    assert states == [(True, True), (False, True), (False, True), (False, False)]


def test_an_aware_datetime_keeps_its_offset():
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    back = decode(encode(entry(moment), compress_above=NEVER)).value
    assert back == moment
    assert back.utcoffset() == moment.utcoffset()


def test_bytes_lie_in_the_entry_as_they_are():
    assert encode(entry(b"{json}"), compress_above=NEVER).endswith(b"{json}")


@pytest.mark.parametrize("value", [b"abc" * 1000, ["abc"] * 1000])
def test_only_bodies_above_the_threshold_are_compressed(value):
    small = encode(entry(value), compress_above=1000)
    assert len(small) < 200 < 3000 < len(encode(entry(value), compress_above=LARGEST_BODY))
    assert decode(small).value == value


def test_what_compression_makes_larger_stays_as_it_is():
    noise = bytes(range(256))
    assert encode(entry(noise), compress_above=0).endswith(noise)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        object(),
        [object()],
        {("a", "b"): 1},
        2**64,
        "\ud800",
        type("Text", (str,), {})("marked safe"),
        timedelta(1),
    ],
)
def test_values_that_would_not_come_back_are_refused(value):
    with pytest.raises(UnsupportedValue):
        encode(entry(value), compress_above=NEVER)


def test_a_value_that_contains_itself_is_refused():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(UnsupportedValue):
        encode(entry(endless), compress_above=NEVER)


def test_a_body_above_the_bound_is_refused():
    with pytest.raises(EntryTooLarge):
        encode(entry(bytes(LARGEST_BODY + 1)), compress_above=0)


def test_a_body_at_the_bound_passes():
    value = bytes(LARGEST_BODY)
    assert decode(encode(entry(value), compress_above=0)).value == value


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was loaded",))


@pytest.mark.parametrize("flags", [None, 0, 4])
def test_a_pickle_is_never_loaded(flags):
    bomb = pickle.dumps(Bomb())
    body = zstd.compress(bomb) if flags == 4 else bomb
    data = bomb if flags is None else planted(body, flags=flags, size=len(bomb))
    with pytest.raises(CorruptEntry):
        decode(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_corrupt(data):
    with pytest.raises(CorruptEntry):
        decode(data)


@given(st.binary(max_size=200), st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_random_bodies_under_a_right_checksum_are_corrupt_or_plain_values(body, flags, size):
    """Nothing but CorruptEntry comes out, though the writer knew the format."""
    for claimed in (size, len(body)):
        with suppress(CorruptEntry):
            decode(planted(body, flags=flags, size=claimed))


@given(entries, st.data(), st.sampled_from([0, NEVER]))
def test_truncated_entries_are_corrupt(found, data, compress_above):
    encoded = encode(found, compress_above=compress_above)
    with pytest.raises(CorruptEntry):
        decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(entries, st.data(), st.sampled_from([0, NEVER]))
def test_a_flipped_bit_is_found(found, data, compress_above):
    encoded = bytearray(encode(found, compress_above=compress_above))
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptEntry):
        decode(bytes(encoded))


@given(entries, st.binary(min_size=1))
def test_trailing_bytes_are_found(found, trailing):
    with pytest.raises(CorruptEntry):
        decode(encode(found, compress_above=NEVER) + trailing)


@pytest.mark.parametrize(
    "data",
    [
        planted(msgpack.packb(1), version=2),
        planted(msgpack.packb(1), flags=8),
        planted(msgpack.packb(1) + b"\x00"),
        planted(b""),
        planted(b"\xc1"),
        planted(b"\x81\x90\x01"),  # a list as a dictionary's key
        planted(b"\xd4\x63\x00"),  # an extension type of nobody's
        planted(msgpack.packb(msgpack.ExtType(1, b"noon"))),
        planted(msgpack.packb(msgpack.ExtType(2, b"2026-02-30"))),
        planted(msgpack.packb(msgpack.ExtType(3, b"short"))),
        planted(msgpack.packb(msgpack.ExtType(4, b"one"))),
        planted(b"\xa1\xff"),  # text that is not UTF-8
        planted(b"\x91" * 100_000 + b"\xc0"),  # lists in lists
        planted(b"abc", flags=2, size=2),
        planted(b"not zstd", flags=6),
        planted(zstd.compress(b"abc"), flags=6, size=2),
        planted(zstd.compress(b"abc"), flags=6, size=4),
        planted(zstd.compress(b"abc") + b"more", flags=6, size=3),
        planted(zstd.compress(b"abc")[:-1], flags=6, size=3),
    ],
)
def test_planted_nonsense_is_corrupt(data):
    with pytest.raises(CorruptEntry):
        decode(data)


def peak_of_refusing(data):
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntry):
            decode(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("claimed", [1000, LARGEST_BODY, 2**28])
def test_a_zip_bomb_costs_no_more_than_a_large_entry(claimed):
    bomb = planted(zstd.compress(bytes(2**28)), flags=6, size=claimed)
    assert len(bomb) < 20_000
    assert peak_of_refusing(bomb) < 3 * LARGEST_BODY


def test_announced_containers_that_are_not_there_reserve_nothing():
    body = (b"\xdd" + struct.pack(">I", 3_000_000)) * 400
    body += bytes(LARGEST_BODY - len(body))
    assert peak_of_refusing(planted(body)) < 3 * LARGEST_BODY


def test_extension_types_come_back_as_they_were():
    found = [date(2026, 1, 2), datetime(2026, 1, 2), UUID(int=7), Decimal("1.50")]  # noqa: DTZ001
    back = decode(encode(entry(found), compress_above=NEVER)).value
    assert [type(item) for item in back] == [date, datetime, UUID, Decimal]
    assert str(back[3]) == "1.50"


def test_the_magic_starts_nothing_else():
    with pytest.raises(msgpack.FormatError):
        msgpack.unpackb(codec._MAGIC)
    with pytest.raises(UnicodeDecodeError):
        codec._MAGIC.decode()
