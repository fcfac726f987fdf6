"""One query of the whole document for each selector, instead of one for each element.

The engine parses a selector anew at every query, which on a listing costs more than the matching.
A selector that looks at nothing but the element itself finds the same descendants from the root
as from each element, so it is asked once and its matches are handed to the elements around them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from selectolax.lexbor import LexborHTMLParser, LexborNode

# A tag, classes, an id: no combinator, alternative or pseudo-class, which look further around.
_NAME = r"[A-Za-z_][\w-]*"
_SIMPLE = re.compile(rf"(?:{_NAME})?(?:[.#]{_NAME})*", re.ASCII)
# Below this, and when matches lie deeper than this on average, asking each element is as good.
_FEWEST_ELEMENTS = 4
_STEPS_PER_ELEMENT = 100


def is_simple(selector: str) -> bool:
    """Whether a selector depends on the element alone."""
    return bool(selector) and _SIMPLE.fullmatch(selector) is not None


def first_matches(
    tree: LexborHTMLParser, elements: Sequence[LexborNode], selectors: Iterable[str]
) -> dict[str, list[LexborNode | None]] | None:
    """For each simple selector, the first match inside each of the elements, in their order.

    None when asking each element is the better way: few elements, elements inside each other,
    or matches so deep that finding the element around them costs too much.
    """
    if len(elements) < _FEWEST_ELEMENTS:
        return None
    sweep = _Sweep(elements)
    try:
        if any(sweep.around(element) is not None for element in elements):
            return None
        return {selector: sweep.matches(tree, selector) for selector in selectors}
    except _TooDeep:
        return None


class _TooDeep(Exception):
    """The walks up the tree have become longer than they are worth."""


class _Sweep:
    """Finds the element around a node by walking up."""

    def __init__(self, elements: Sequence[LexborNode]) -> None:
        self._positions = {element.mem_id: n for n, element in enumerate(elements)}
        self._steps = _STEPS_PER_ELEMENT * len(elements)
        self._outside: set[int] = set()

    def around(self, node: LexborNode) -> int | None:
        """The position of the nearest element around a node."""
        passed = []
        parent = node.parent
        while parent is not None:
            parent_id = parent.mem_id
            if (position := self._positions.get(parent_id)) is not None:
                return position
            if parent_id in self._outside:
                break
            passed.append(parent_id)
            self._steps -= 1
            if self._steps < 0:
                raise _TooDeep
            parent = parent.parent
        self._outside.update(passed)
        return None

    def matches(self, tree: LexborHTMLParser, selector: str) -> list[LexborNode | None]:
        """The first match inside each element."""
        firsts: list[LexborNode | None] = [None] * len(self._positions)
        for node in tree.css(selector):
            position = self.around(node)
            if position is not None and firsts[position] is None:
                firsts[position] = node
        return firsts
