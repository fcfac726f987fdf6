"""Stacks as captures find, keep and show them, and what py-spy says instead."""

import pytest

from performance.profiling import cpu
from performance.profiling.stacks import pack, parse, text, unpack
from tests.support import ROOT


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("Error: Permission Denied: Try running again with elevated permissions", "SYS_PTRACE"),
        ("Error: Operation not permitted (os error 1)", "SYS_PTRACE"),
        ("Error: something else\n", "something else"),
        ("", "nothing"),
    ],
)
def test_what_py_spy_cannot_do_is_said_with_what_to_do(said, says):
    assert says in cpu.reason(said)


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        (f"keep ({ROOT}/jobs/keys.py:12)", "keep (jobs/keys.py:12)"),
        (f"keep ({ROOT}/jobs/keys.py)", "keep (jobs/keys.py)"),
        ("gc", "gc"),
    ],
)
def test_a_frame_has_its_file_as_the_project_has_it_and_its_line_if_it_is_known(frame, shown):
    assert cpu.short(frame) == shown


def test_stacks_come_back_as_they_went():
    stacks = {("main (a.py:1)", "inner: one (b.py:2)"): 12, ("main (a.py:1)",): 3}
    assert unpack(pack(stacks)) == parse(text(stacks)) == stacks
    assert unpack(b"") == {}


def test_lines_that_are_no_stacks_are_left_out():
    assert parse(" 6\na;b 2\nnothing\na;b x\na;b 3\n") == {("a", "b"): 5}
