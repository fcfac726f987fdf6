"""The text a reader of the page sees, one line a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selectolax.lexbor import LexborHTMLParser, LexborNode

_INVISIBLE = frozenset("head script style noscript template iframe noembed noframes".split())  # noqa: SIM905
_BLOCKS = frozenset(
    """address article aside blockquote body br caption center dd details dialog div dl dt
    fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li
    main menu nav ol optgroup option p pre search section select summary table tbody tfoot
    thead tr ul""".split()  # noqa: SIM905
)
_CELLS = frozenset({"td", "th"})


def read_text(tree: LexborHTMLParser) -> str:
    """White space within a block is one space; empty lines are left out."""
    if tree.root is None:
        return ""
    lines = (" ".join(line.split()) for line in "".join(_pieces(tree.root)).split("\n"))
    return "\n".join(line for line in lines if line)


def _pieces(root: LexborNode) -> Iterator[str]:
    """Text and separators in document order. A loop, since pages nest deeper than Python."""
    node: LexborNode | None = root
    depth = preformatted = 0
    while node is not None:
        if node.is_text_node:
            text = node.text_content or ""
            # A line break in the source is only a space, except in preformatted text.
            yield text if preformatted else text.replace("\n", " ")
        else:
            yield _separator(node)
            child = None if node.tag in _INVISIBLE else node.first_child
            if child is not None:
                preformatted += node.tag == "pre"
                node, depth = child, depth + 1
                continue
        while depth and node.next is None and node.parent is not None:
            node, depth = node.parent, depth - 1
            preformatted -= node.tag == "pre"
            yield _separator(node)
        node = node.next if depth else None


def _separator(node: LexborNode) -> str:
    tag = node.tag
    if tag in _BLOCKS:
        return "\n"
    return " " if tag in _CELLS else ""
