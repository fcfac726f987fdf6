"""Folded stacks: what was met in each stack of frames, the outermost frame first.

As text they are one stack a line, `outer;inner 12`: the format of Brendan Gregg's flame graphs,
which other tools read too.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Stack = tuple[str, ...]
Stacks = dict[Stack, int]


class Seen(NamedTuple):
    """What a look into a process has found: its stacks, and what else there is to show."""

    stacks: Stacks
    document: dict[str, Any]


# More distinct stacks than a page could show, and frames deeper than anybody reads.
MOST_STACKS = 10_000
DEEPEST = 200
LONGEST_FRAME = 200
# Of what is not worth a stack of its own.
OTHER = ("(others)",)


def folded(found: Iterable[tuple[Iterable[str], int]]) -> Stacks:
    """Stacks with their numbers, the same ones together; those without frames are left out."""
    stacks: Stacks = {}
    for frames, number in found:
        stack = tuple(map(_frame, frames))[:DEEPEST]
        if stack and number > 0:
            stacks[stack] = stacks.get(stack, 0) + number
    return _largest(stacks)


def parse(text: str) -> Stacks:
    """The stacks of a text; lines that are none are left out."""
    lines = (line.rpartition(" ") for line in text.splitlines())
    return folded(
        (stack.split(";"), int(number)) for stack, _, number in lines if stack and number.isdigit()
    )


def text(stacks: Stacks) -> str:
    """The stacks, a line each."""
    return "".join(f"{';'.join(stack)} {number}\n" for stack, number in sorted(stacks.items()))


def pack(stacks: Stacks) -> bytes:
    """The stacks as a column has them."""
    return zlib.compress(text(stacks).encode())


def unpack(column: bytes) -> Stacks:
    """The stacks in a column; none in an empty one."""
    return parse(zlib.decompress(column).decode()) if column else {}


@lru_cache(maxsize=20_000)
def _frame(frame: str) -> str:
    """A frame without what separates frames and lines, or has no room in PostgreSQL."""
    return " ".join(frame.replace(";", ":").replace("\0", "").split())[:LONGEST_FRAME] or "?"


def _largest(stacks: Stacks) -> Stacks:
    if len(stacks) <= MOST_STACKS:
        return stacks
    ordered = sorted(stacks, key=lambda stack: stacks[stack], reverse=True)
    kept = {stack: stacks[stack] for stack in ordered[: MOST_STACKS - 1]}
    kept[OTHER] = sum(stacks[stack] for stack in ordered[MOST_STACKS - 1 :])
    return kept
