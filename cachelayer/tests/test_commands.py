"""The operators' commands, on the server of the test run."""

import io
import struct
import zlib

import pytest
import redis
from django.core.management import CommandError, call_command

from cachelayer import operations, warming
from cachelayer.keys import tag_key
from cachelayer.layer import cache_layer
from cachelayer.policy import Policy
from cachelayer.remote import Unavailable
from cachelayer.tiered import TieredCache
from cachelayer.warming import warmer

pytestmark = pytest.mark.xdist_group("valkey")

NAMESPACES = ("command-one", "command-two")


class Terminal(io.StringIO):
    """A terminal, as far as a program can tell."""

    def isatty(self):
        return True


@pytest.fixture
def entries():
    """Three entries in two namespaces, and what lies beside them under the same prefix."""
    one, two = (TieredCache(name, Policy(ttl=60)) for name in NAMESPACES)
    one.get_or_load((1,), lambda: "first", tags=["v1"])
    one.get_or_load((2,), lambda: {"second": [1, 2]})
    two.get_or_load((1,), lambda: "third")
    prefix = cache_layer().settings.prefix
    beside = [tag_key(prefix, "x:v1"), f"{prefix}:@lock:{one.key((1,))}", f"{prefix}:1:views.x"]
    cache_layer().remote.call(*[("SET", key, "x") for key in beside])
    yield one, two
    for name in NAMESPACES:
        operations.clear(name)
    cache_layer().remote.call(*[("UNLINK", key) for key in beside])


@pytest.fixture
def gone(monkeypatch):
    """A server that does not answer."""

    def refuse():
        raise redis.exceptions.ConnectionError("nobody listens")

    monkeypatch.setattr(cache_layer().remote, "_client", refuse)
    yield
    monkeypatch.undo()
    cache_layer().remote.breaker.succeeded()


def run(*arguments, stdout=None):
    stdout = stdout or io.StringIO()
    call_command(*arguments, stdout=stdout)
    return stdout.getvalue()


def rows(output):
    """The lines of a table, as words."""
    lines = (line.replace("│", " ").split() for line in output.splitlines())
    return {words[0]: words[1:] for words in lines if len(words) == 3}


def test_stats_shows_the_entries_and_bytes_of_each_namespace(entries):
    found = rows(run("cache", "stats"))
    assert [found[name][0] for name in NAMESPACES] == ["2", "1"]
    assert all(int(found[name][1]) > 40 for name in NAMESPACES)


def test_stats_counts_neither_tags_nor_locks_nor_what_belongs_to_others(entries):
    assert not set(operations.survey()) & {"@tag", "@lock", "1"}


def test_clear_empties_the_namespaces_that_are_named(entries):
    one, two = entries
    assert "command-one: 2 entries removed" in run("cache", "clear", "command-one")
    assert one.get_or_load((2,), lambda: "new") == "new"
    assert two.get_or_load((1,), lambda: "new") == "third"


def test_clear_all_empties_every_namespace_and_leaves_the_rest(entries):
    output = run("cache", "clear", "--all")
    assert "command-one: 2 entries removed" in output
    assert "command-two: 1 entries removed" in output
    assert operations.namespaces() == []
    prefix = cache_layer().settings.prefix
    assert cache_layer().remote.call(("EXISTS", f"{prefix}:1:views.x")) == [1]


def test_clear_goes_on_where_one_round_removes_only_so_many(entries, monkeypatch):
    monkeypatch.setattr("cachelayer.invalidation.MOST_KEYS", 1)
    monkeypatch.setattr("cachelayer.operations.MOST_KEYS", 1)
    assert "command-one: 2 entries removed" in run("cache", "clear", "command-one")


def test_clear_takes_no_pattern(entries):
    assert "*: 0 entries removed" in run("cache", "clear", "*")
    assert len(operations.survey()) == 2


def test_clear_wants_a_namespace():
    with pytest.raises(CommandError, match="Name the namespaces to clear, or give --all"):
        run("cache", "clear")


def test_inspect_shows_an_entry(entries):
    key = entries[0].key((2,))
    output = run("cache", "inspect", key)
    assert output.startswith(f"{key}\n")
    assert "{'second': [1, 2]}" in output
    assert "expires in" in output
    assert "T" in output.split("created")[1].splitlines()[0]


def test_inspect_shows_long_values_in_part():
    values = TieredCache("command-one", Policy(ttl=60))
    values.get_or_load((3,), lambda: "x" * 100_000)
    try:
        assert 2_000 < len(run("cache", "inspect", values.key((3,)))) < 3_000
    finally:
        operations.clear("command-one")


def planted(created):
    """An entry as somebody could write it who knows the format."""
    body = b"\xc0"
    head = struct.pack(">3sBBdddI", b"\xc1CL", 1, 0, created, created, created, len(body))
    return head + struct.pack(">I", zlib.crc32(head, zlib.crc32(body))) + body


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"garbage", "7 bytes that are no entry"),
        (planted(float("nan")), "nan s"),
        (planted(1e300), "1e+300 s"),
        (planted(0), "1970-01-01T00:00:00+00:00"),
    ],
)
def test_inspect_shows_what_is_no_entry_of_ours(data, shown):
    remote = cache_layer().remote
    remote.call(("SET", "planted", data))
    try:
        assert shown in run("cache", "inspect", "planted")
    finally:
        remote.call(("UNLINK", "planted"))


def test_inspect_refuses_an_unknown_key():
    with pytest.raises(CommandError, match="There is no entry 'nothing'"):
        run("cache", "inspect", "nothing")


@pytest.mark.parametrize(
    "action", [["stats"], ["clear", "x"], ["clear", "--all"], ["inspect", "x"]]
)
def test_a_server_that_does_not_answer_is_named_as_the_reason(gone, action):
    with pytest.raises(CommandError, match="Valkey does not answer: nobody listens"):
        run("cache", *action)


def test_an_action_is_needed():
    with pytest.raises(CommandError):
        run("cache")


def test_a_key_that_is_no_text_does_not_stop_the_operators(entries):
    key = f"{cache_layer().settings.prefix}:command-one:v1:".encode() + b"\xff"
    cache_layer().remote.call(("SET", key, "x"))
    try:
        assert operations.survey()["command-one"][0] == 2
    finally:
        cache_layer().remote.call(("UNLINK", key))


@pytest.fixture
def two_warmers(monkeypatch):
    monkeypatch.setattr(warming, "_warmers", {})
    ran = []
    warmer("first")(lambda: iter([lambda: ran.append(1), lambda: ran.append(2)]))
    warmer("second")(lambda: iter([lambda: ran.append(3)]))
    return ran


def test_warmcache_runs_every_warmer_and_says_what_it_did(two_warmers):
    output = run("warmcache")
    assert "first: 2 values loaded, 0 failed" in output
    assert "second: 1 values loaded, 0 failed" in output
    assert two_warmers == [1, 2, 3]


def test_warmcache_runs_those_that_are_named_once(two_warmers):
    run("warmcache", "second", "second")
    assert two_warmers == [3]


def test_warmcache_refuses_unknown_names_and_runs_nothing(two_warmers):
    with pytest.raises(CommandError, match=r"No warmer named third\. Known: first, second\."):
        run("warmcache", "first", "third")
    assert two_warmers == []


def test_warmcache_fails_after_all_have_run_when_a_value_failed(two_warmers, caplog):
    warmer("bad")(lambda: iter([int, lambda: 1 / 0]))
    stdout = io.StringIO()
    with pytest.raises(CommandError, match="1 values could not be loaded"):
        run("warmcache", stdout=stdout)
    assert "bad: 1 values loaded, 1 failed" in stdout.getvalue()
    assert two_warmers == [1, 2, 3]
    assert "division by zero" in caplog.text


def test_warmcache_draws_its_bar_in_place(two_warmers):
    output = run("warmcache", stdout=Terminal())
    # A line each for two reports and two bars, however often they were drawn.
    assert "\x1b[2K" in output
    assert "\x1b[2K\n" not in output


def test_unavailable_is_what_operations_raise(gone):
    with pytest.raises(Unavailable):
        operations.survey()
