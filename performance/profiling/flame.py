"""Folded stacks as a picture: who called whom, each as wide as its share of the whole.

The outermost callers stand at the top. What one points at is the present root: it is zoomed into
by being drawn as the whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from performance.profiling.stacks import Stacks

# In the units of the SVG's viewBox.
WIDTH, ROW = 1200.0, 18.0
# Narrower frames, and those further in, are not drawn: nobody could hit them.
NARROWEST = 1.0
MOST_ROWS = 60
# Characters that a unit of width has room for, and the fewest worth writing.
CHARACTERS = 1 / 6.6
FEWEST_CHARACTERS = 3
COLOURS = 6
MOST_FUNCTIONS = 50
WHOLE = "all"
LINE = re.compile(r":\d+\)$")


@dataclass(slots=True)
class Node:
    """A frame with those below it; `value` includes theirs. `path` are places among siblings."""

    name: str
    path: tuple[int, ...]
    value: int = 0
    children: dict[str, Node] = field(default_factory=dict)

    def child(self, name: str) -> Node:
        """The frame of that name called by this one."""
        known = self.children.get(name)
        if known is None:
            known = self.children[name] = Node(name, (*self.path, len(self.children)))
        return known

    @property
    def key(self) -> str:
        """Its address within the tree, as `0.2.1`; empty for the whole."""
        return ".".join(map(str, self.path))


@dataclass(frozen=True, slots=True)
class Box:
    """A frame to draw; `share` is of the whole, in per cent; `label` is what fits into it."""

    key: str
    name: str
    label: str
    value: int
    share: float
    x: float
    y: float
    width: float
    colour: int
    is_found: bool
    is_above: bool


@dataclass(frozen=True, slots=True)
class Flame:
    """The picture. `found` is the share (per cent) of what was searched for, None without that."""

    boxes: list[Box]
    height: float
    root: str
    total: int
    found: float | None
    width: float = WIDTH
    row: float = ROW


@dataclass(slots=True)
class Function:
    """What a function took itself, and with all that it called."""

    name: str
    own: int = 0
    total: int = 0

    @property
    def wanted(self) -> str:
        """What finds its frames, whatever their lines."""
        return self.name.removesuffix(")")


def tree(stacks: Stacks) -> Node:
    """All stacks as one tree; the same for the same stacks, so that addresses in it stay."""
    whole = Node(WHOLE, ())
    for stack, value in sorted(stacks.items()):
        whole.value += value
        node = whole
        for name in stack:
            node = node.child(name)
            node.value += value
    return whole


def flame(stacks: Stacks, *, root: str = "", find: str = "") -> Flame:
    """The picture with the frame at `root` as the whole; frames that contain `find` are marked."""
    whole = tree(stacks)
    above = line_to(whole, root)
    wanted = find.strip().lower()
    boxes = [
        _box(node, row, 0.0, WIDTH, whole.value, wanted, is_above=True)
        for row, node in enumerate(above[:-1])
    ]
    boxes += _below(above[-1], len(above) - 1, whole.value, wanted)
    rows = max((box.y for box in boxes), default=0.0) / ROW + 1
    found = None
    if wanted:
        matching = _matching(stacks, wanted)
        found = 100 * matching / whole.value if whole.value else 0.0
    return Flame(boxes, rows * ROW, above[-1].key, whole.value, found)


def functions(stacks: Stacks) -> list[Function]:
    """What each function took itself and in all, those first that took most themselves."""
    known: dict[str, Function] = {}
    for stack, value in stacks.items():
        names = [function_of(frame) for frame in stack]
        for name in set(names):
            known.setdefault(name, Function(name)).total += value
        known[names[-1]].own += value
    return sorted(known.values(), key=lambda one: (-one.own, -one.total, one.name))


@lru_cache(maxsize=20_000)
def function_of(frame: str) -> str:
    """The function of a frame, whichever of its lines that is; the line where it says only that."""
    return LINE.sub(")", frame)


def line_to(whole: Node, key: str) -> list[Node]:
    """The frames from the whole down to that address, as far as there are any."""
    line = [whole]
    for part in key.split(".") if key else ():
        children = list(line[-1].children.values())
        if not (part.isascii() and part.isdigit() and int(part) < len(children)):
            break
        line.append(children[int(part)])
    return line


def _below(root: Node, first_row: int, total: int, wanted: str) -> Iterator[Box]:
    """The root and what it has called, row by row."""
    scale = WIDTH / root.value if root.value else 0.0
    level = [(root, 0.0)]
    for row in range(first_row, first_row + MOST_ROWS):
        below: list[tuple[Node, float]] = []
        for node, x in level:
            yield _box(node, row, x, node.value * scale, total, wanted)
            begins = x
            for child in sorted(node.children.values(), key=lambda one: one.name):
                if child.value * scale >= NARROWEST:
                    below.append((child, begins))
                begins += child.value * scale
        level = below


def _box(
    node: Node, row: int, x: float, width: float, total: int, wanted: str, *, is_above: bool = False
) -> Box:
    return Box(
        node.key,
        node.name,
        _fitting(node.name, width),
        node.value,
        100 * node.value / total if total else 0.0,
        round(x, 2),
        row * ROW,
        round(width, 2),
        crc32(_family(node.name).encode()) % COLOURS,
        bool(wanted) and wanted in node.name.lower(),
        is_above,
    )


def _fitting(name: str, width: float) -> str:
    room = int((width - 4) * CHARACTERS)
    if room < FEWEST_CHARACTERS:
        return ""
    return name if len(name) <= room else f"{name[: room - 1]}…"


def _family(name: str) -> str:
    """What frames of one colour have in common: the directory or package that they are in."""
    file = name.partition(" (")[2] or name
    return file.partition("/")[0]


def _matching(stacks: Stacks, wanted: str) -> int:
    return sum(
        value for stack, value in stacks.items() if any(wanted in frame.lower() for frame in stack)
    )
