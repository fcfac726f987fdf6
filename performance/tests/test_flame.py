"""Folded stacks as a picture: shares are widths, whoever is pointed at becomes the whole."""

import pytest

from performance.profiling.flame import (
    MOST_ROWS,
    NARROWEST,
    ROW,
    WIDTH,
    flame,
    function_of,
    functions,
    line_to,
    tree,
)
from performance.profiling.stacks import MOST_STACKS, OTHER, Stacks, folded

STACKS: Stacks = {
    ("main", "serve", "query"): 60,
    ("main", "serve", "render"): 20,
    ("main", "wait"): 15,
    ("idle",): 5,
}


def box(picture, name):
    return next(one for one in picture.boxes if one.name == name)


def test_a_frame_is_as_wide_as_its_share():
    picture = flame(STACKS)
    assert box(picture, "all").width == WIDTH
    assert box(picture, "main").width == pytest.approx(0.95 * WIDTH)
    assert box(picture, "query").share == 60
    assert picture.total == 100
    assert picture.height == 4 * ROW


def test_a_frame_stands_within_and_below_its_caller():
    picture = flame(STACKS)
    serve, query, render = (box(picture, name) for name in ("serve", "query", "render"))
    assert query.y == render.y == serve.y + ROW
    assert serve.x <= query.x
    assert query.x + query.width <= render.x + 0.01
    assert render.x + render.width <= serve.x + serve.width + 0.01


def test_whoever_is_pointed_at_is_drawn_as_the_whole_below_its_callers():
    key = box(flame(STACKS), "serve").key
    picture = flame(STACKS, root=key)
    assert box(picture, "serve").width == WIDTH
    assert box(picture, "query").width == pytest.approx(0.75 * WIDTH)
    assert box(picture, "query").share == 60, "shares stay those of the whole"
    assert [one.name for one in picture.boxes if one.is_above] == ["all", "main"]
    assert "wait" not in {one.name for one in picture.boxes}


def test_an_address_finds_the_same_frame_again():
    for one in flame(STACKS).boxes:
        assert line_to(tree(STACKS), one.key)[-1].name == one.name


@pytest.mark.parametrize("root", ["9", "0.9", "x", "-1", "٣", "0..1", "." * 50])
def test_an_address_that_leads_nowhere_is_followed_as_far_as_it_goes(root):
    assert flame(STACKS, root=root).boxes


def test_what_is_searched_for_is_marked_and_summed_up():
    picture = flame({**STACKS, ("query", "query"): 100}, find=" QUERY ")
    assert {one.name for one in picture.boxes if one.is_found} == {"query"}
    assert picture.found == 80
    assert flame(STACKS).found is None


def test_frames_that_nobody_could_hit_are_left_out():
    stacks: Stacks = {("broad",): 10_000, ("narrow",): 1}
    assert {one.name for one in flame(stacks).boxes} == {"all", "broad"}
    assert all(one.width >= NARROWEST for one in flame(stacks).boxes)


def test_endless_recursion_is_drawn_to_a_depth():
    picture = flame({("deep",) * 150: 1})
    assert picture.height == MOST_ROWS * ROW


def test_nothing_is_a_picture_of_nothing():
    picture = flame({}, find="x")
    assert [one.name for one in picture.boxes] == ["all"]
    assert picture.found == 0


def test_labels_fit_into_their_frames():
    stacks: Stacks = {("a" * 300,): 99, ("b" * 300,): 1}
    picture = flame(stacks)
    assert box(picture, "a" * 300).label.endswith("…")
    assert box(picture, "b" * 300).label == ""


def test_a_function_is_counted_once_a_stack_and_its_own_share_apart():
    found = {
        one.name: one
        for one in functions({("f (a.py:1)", "g (b.py:2)", "f (a.py:9)"): 3, ("f (a.py:1)",): 2})
    }
    assert (found["f (a.py)"].own, found["f (a.py)"].total) == (5, 5)
    assert (found["g (b.py)"].own, found["g (b.py)"].total) == (0, 3)


def test_a_line_without_a_function_stays_itself():
    assert function_of("jobs/keys.py:12") == "jobs/keys.py:12"


def test_frames_cannot_break_the_format():
    assert folded([(["a;b\n\0 c", ""], 1), ([], 5)]) == {("a:b c", "?"): 1}


def test_of_too_many_stacks_the_largest_are_kept():
    many = folded(([f"f{number}"], number + 1) for number in range(MOST_STACKS + 10))
    assert len(many) == MOST_STACKS
    assert many["(others)",] == sum(range(1, 12))
    assert OTHER in many
