"""What recorders say is folded, bounded, and read back as it was; garbage is no message."""

import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from types import SimpleNamespace

import msgpack
import pytest

from cachelayer.layer import cache_layer
from cachelayer.remote import Unavailable
from performance.entry import LONGEST_KEY, Message, Name, Sample, Subject, Tally
from performance.recording import buffer as buffers
from performance.recording.buffer import (
    MOST_KEYS,
    MOST_SAMPLES_TOLD,
    MOST_SUBJECTS,
    MOST_WAITING,
    OTHER,
    TOLD_AGAIN_AFTER,
    Buffer,
)
from performance.recording.observer import Observer, Turn
from performance.recording.process import governor
from performance.recording.rescue import failures, is_unobserved, rescued, unobserved
from performance.recording.stream import Stream
from performance.recording.wire import Garbage, packed, unpacked


@pytest.fixture
def buffer():
    return Buffer()


def test_entries_of_one_name_become_one_tally(buffer):
    for value in (1.0, 3.0):
        buffer.record("request", "/jobs", value)
    tally = buffer.take("me").tallies[Name("request", "/jobs")]
    assert (tally.count, tally.sum, tally.max) == (2, 4, 3)


def test_entries_come_to_the_same_however_many_were_added_up_at_once(buffer):
    numbers = [0.0, *(1.03**exponent for exponent in range(2 * MOST_WAITING + 7))]
    expected = Tally()
    for number in numbers:
        buffer.record("request", "/jobs", number)
        expected.add(number)
    tally = buffer.take("me").tallies[Name("request", "/jobs")]
    assert tally.sum == pytest.approx(expected.sum)
    assert (tally.count, tally.max, tally.histogram, tally.is_sampled) == (
        expected.count, expected.max, expected.histogram, False
    )  # fmt: skip


def test_an_entry_that_stands_for_others_counts_beside_those_that_do_not(buffer):
    for weight in (1.0, 1.0, 4.0, 1.0):
        buffer.record("request", "/jobs", 2.0, weight)
    tally = buffer.take("me").tallies[Name("request", "/jobs")]
    assert (tally.count, tally.sum, tally.is_sampled) == (7, 14, True)


def test_parts_are_counted_each_by_its_type(buffer):
    buffer.count_parts(("wait", "work"), "/jobs", 1, (3.0, 4.0))
    buffer.count_parts(("wait", "work"), "/jobs", 2, (1.0, 0.0))
    assert buffer.take("me").tallies == {
        Name("wait", "/jobs"): Tally(count=3, sum=4),
        Name("work", "/jobs"): Tally(count=3, sum=4),
    }
    assert not buffer.take("me").tallies


def test_parts_of_too_many_keys_count_together(buffer):
    for number in range(MOST_KEYS + 3):
        buffer.count_parts(("wait",), str(number), 1, (1.0,))
    tallies = buffer.take("me").tallies
    assert len(tallies) == MOST_KEYS + 1
    assert tallies[Name("wait", OTHER)].count == 3


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


def subjects_of(buffer):
    return [subject.key for subject in buffer.take("me").subjects]


def test_a_subject_is_told_again_after_hours(buffer, monkeypatch):
    buffer.describe("query", "abc", {})
    assert "abc" in buffer.described["query"]
    later = monotonic() + TOLD_AGAIN_AFTER
    monkeypatch.setattr("performance.recording.buffer.monotonic", lambda: later)
    assert subjects_of(buffer) == ["abc"]
    assert "abc" not in buffer.described["query"]
    buffer.describe("query", "abc", {})
    assert subjects_of(buffer) == ["abc"]


def test_a_subject_is_told_by_a_child_too(buffer):
    buffer.describe("query", "abc", {})
    buffer.forget()
    buffer.describe("query", "abc", {})
    assert subjects_of(buffer) == ["abc"]


def test_a_subject_that_found_no_room_is_told_when_there_is_some(buffer):
    for number in range(MOST_SUBJECTS):
        buffer.describe("query", str(number), {})
    buffer.describe("query", "last", {})
    assert "last" not in subjects_of(buffer)
    assert "last" not in buffer.described["query"]
    buffer.describe("query", "last", {})
    assert subjects_of(buffer) == ["last"]


def test_a_smaller_sample_is_kept_when_the_larger_ones_were_long_ago(buffer, monkeypatch):
    monkeypatch.setattr(buffers, "BAR_STANDS", 0.0)
    for value in (5, 4, 3, 1):
        buffer.sample("request", "/jobs", value, {})
    assert [sample.value for sample in buffer.take("me").samples] == [5, 4, 3, 1]


def test_of_too_many_names_the_first_samples_are_kept_until_they_are_told(buffer):
    for number in range(MOST_SAMPLES_TOLD + 2):
        buffer.sample("query", str(number), 1.0, {})
    assert len(buffer.take("me").samples) == MOST_SAMPLES_TOLD
    assert buffer.is_evidence("query", "new", 1.0)


def test_a_key_that_is_too_long_is_cut_wherever_it_is_said(buffer):
    long, cut = "x" * (LONGEST_KEY + 9), "x" * LONGEST_KEY
    for key in (long, cut):
        buffer.record("query", key, 1.0)
        buffer.sample("query", key, 1.0, {})
        buffer.describe("query", key, {})
    message = buffer.take("me")
    assert message.tallies[Name("query", cut)].count == 2
    assert [sample.key for sample in message.samples] == [cut, cut]
    assert message.subjects == [Subject("query", cut, {})]
    assert unpacked(packed(message)) == message


@pytest.fixture
def observer(buffer):
    """One whose stream is there."""
    remote = cache_layer().remote
    remote.call(("UNLINK", "test:performance"))
    yield Observer("me", buffer, Stream(remote, "test"), [], governor)
    remote.call(("UNLINK", "test:performance"))


def test_what_valkey_did_not_take_is_counted_and_described_again(observer):
    cache_layer().remote.call(("SET", "test:performance", "no stream"))
    observer.buffer.describe("query", "abc", {})
    with pytest.raises(Unavailable):
        observer.stream.append(Message("me"))
    observer.tell()
    assert observer.dropped == 1
    observer.buffer.describe("query", "abc", {})
    assert observer.buffer.take("me").subjects == [Subject("query", "abc", {})]


def test_a_message_that_cannot_be_written_is_counted_as_dropped(observer):
    endless: dict[str, object] = {}
    endless["endless"] = endless
    observer.buffer.publish("pools", endless)
    with pytest.raises(ValueError, match="recursion"):
        observer.tell()
    assert observer.dropped == 1


def test_what_is_no_character_costs_no_message(buffer):
    buffer.record("request", "/jobs\ud800", 1.0)
    assert unpacked(packed(buffer.take("me"))).tallies.keys() == {Name("request", "/jobs?")}


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
        [1, "me", [["t", "k", 1e308, 0, 0, {}, False]], [], [], {}],
        [1, "me", [["t", "k", 0, 0, 0, {1: float("nan")}, False]], [], [], {}],
        [1, "me", [], [["t", "k", 0, 0, "text"]], [], {}],
        [1, "me", [], [["t", "k", 0, 1e12, {}]], [], {}],
        [1, "me", [], [["t", "k", 0, -1, {}]], [], {}],
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


def test_what_is_put_off_is_recorded_once_though_two_catch_up_at_the_same_time(buffer):
    both = threading.Barrier(2)

    def slow(value):
        # The other thread takes while this one is at the first.
        if value == 1.0:
            both.wait(10)
            both.wait(10)
        buffer.record("type", "key", value)

    for value in (1.0, 2.0, 3.0):
        buffer.put_off("recorder", slow, value)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(buffer.take, "first")
        both.wait(10)
        second = buffer.take("second")
        both.wait(10)
    counts = [one.tallies[Name("type", "key")].count for one in (first.result(), second)]
    assert counts == [1, 2]


def test_what_is_put_off_and_fails_is_counted_as_its_recorders_failure(buffer):
    def broken():
        raise ValueError

    buffer.put_off("recorder", broken)
    buffer.put_off("recorder", buffer.record, "type", "key", 1.0)
    assert buffer.take("me").tallies[Name("type", "key")].count == 1
    assert failures.pop("recorder") == 1
