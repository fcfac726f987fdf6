"""What recorders say is folded, bounded, and read back as it was; garbage is no message."""

from types import SimpleNamespace

import msgpack
import pytest

from performance.entry import LONGEST_KEY, Message, Name, Sample, Subject, Tally
from performance.recording.buffer import MOST_KEYS, OTHER, Buffer
from performance.recording.observer import Turn
from performance.recording.rescue import failures, is_unobserved, rescued, unobserved
from performance.recording.wire import Garbage, packed, unpacked


@pytest.fixture
def buffer():
    return Buffer()


def test_entries_of_one_name_become_one_tally(buffer):
    for value in (1.0, 3.0):
        buffer.record("request", "/jobs", value)
    tally = buffer.take("me").tallies[Name("request", "/jobs")]
    assert (tally.count, tally.sum, tally.max) == (2, 4, 3)


def test_what_was_taken_is_not_told_again(buffer):
    buffer.record("request", "/jobs", 1.0)
    buffer.take("me")
    assert buffer.take("me") == Message("me")


def test_plain_counts_have_no_histogram(buffer):
    buffer.count("cache", "jobs", 5, sum=2)
    assert buffer.take("me").tallies == {Name("cache", "jobs"): Tally(count=5, sum=2)}


def test_of_too_many_keys_the_last_count_together(buffer):
    for number in range(MOST_KEYS + 3):
        buffer.record("query", str(number), 1.0)
    tallies = buffer.take("me").tallies
    assert len(tallies) == MOST_KEYS + 1
    assert tallies[Name("query", OTHER)].count == 3


def test_the_room_for_keys_is_there_again_after_telling(buffer):
    for number in range(MOST_KEYS):
        buffer.record("query", str(number), 1.0)
    buffer.take("me")
    buffer.record("query", "new", 1.0)
    assert list(buffer.take("me").tallies) == [("query", "new")]


def test_once_there_are_enough_only_a_larger_sample_is_kept(buffer):
    for value in (5, 1, 4, 2, 3):
        buffer.sample("request", "/jobs", value, {})
    values = [sample.value for sample in buffer.take("me").samples]
    assert values == [5, 1, 4, 2, 3]
    for value in (2, 6, 3):
        buffer.sample("request", "/jobs", value, {})
    assert [sample.value for sample in buffer.take("me").samples] == [6]


def test_evidence_is_not_gathered_for_what_would_not_be_kept(buffer):
    for value in (5, 4, 3):
        buffer.sample("request", "/jobs", value, {})
    assert buffer.is_evidence("request", "/jobs", 6)
    assert not buffer.is_evidence("request", "/jobs", 2)


def test_a_subject_is_told_once_a_process(buffer):
    told = []
    for _ in range(2):
        buffer.describe("query", "abc", {"sql": "SELECT 1"})
        told.append(buffer.take("me").subjects)
    assert told == [[Subject("query", "abc", {"sql": "SELECT 1"})], []]


def test_a_message_is_read_back_as_it_was_written(buffer):
    buffer.record("request", "/jobs", 12.5, weight=4)
    buffer.sample("request", "/jobs", 12.5, {"status": 200, "path": "/jobs"})
    buffer.describe("query", "abc", {"sql": "SELECT 1"})
    buffer.publish("pools", {"default": {"size": 4}})
    message = buffer.take("me")
    assert unpacked(packed(message)) == message


def test_what_postgresql_cannot_store_does_not_come_out_of_a_message():
    message = Message(
        "m\0e",
        {Name("a\0", "b"): Tally()},
        [Sample("a", "b", 1.0, 0.0, {"x\0": ["y\0"]})],
    )
    read = unpacked(packed(message))
    assert read.instance == "me"
    assert read.samples[0].document == {"x": ["y"]}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        [99, "me", [], [], [], {}],
        [1, 5, [], [], [], {}],
        [1, "me", [["t", "k", float("inf"), 0, 0, {}, False]], [], [], {}],
        [1, "me", [["t", "k" * (LONGEST_KEY + 1), 0, 0, 0, {}, False]], [], [], {}],
        [1, "me", [["t", "k", 0, 0, 0, {"place": 1}, False]], [], [], {}],
        [1, "me", [["t", "k", 0, 0, 0, {10_000: 1}, False]], [], [], {}],
        [1, "me", [], [["t", "k", 0, 0, "text"]], [], {}],
        [1, "me", [], [], [], {"pools": {"size": float("nan")}}],
        [1, "me", [], [], [], {"pools": {"raw": b"bytes"}}],
    ],
)
def test_what_is_not_our_message_is_garbage(document):
    with pytest.raises(Garbage):
        unpacked(msgpack.packb(document))


def test_bytes_that_are_not_even_msgpack_are_garbage():
    with pytest.raises(Garbage):
        unpacked(b"\xc1 nonsense")


def test_a_recorder_that_fails_is_counted_and_harms_nobody():
    before = failures["test"]
    with rescued("test"):
        raise ZeroDivisionError
    assert failures["test"] == before + 1


def test_what_is_unobserved_is_so_only_inside():
    with unobserved():
        assert is_unobserved()
    assert not is_unobserved()


def test_who_looks_seldom_waits_while_a_process_starts():
    first = {every: Turn.of(SimpleNamespace(every=every), 100.0).due_at for every in (2, 20, 300)}
    assert first == {2: 100.0, 20: 105.0, 300: 110.0}
