"""From an element to a string: text, attribute or markup, then pattern, then transform."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING

from selectolax.lexbor import LexborNode

from jobs.extraction.checks import compile_pattern

if TYPE_CHECKING:
    from jobs.extraction.spec import Field

Value = Callable[[LexborNode], str | None]

_TRANSFORMS: dict[str, Callable[[str], str]] = {
    "lowercase": str.lower,
    "uppercase": str.upper,
    "strip": str.strip,
}


def compile_value(field: Field) -> Value:
    """What a leaf field reads from its element, with pattern and transform applied."""
    value = _source(field)
    if field.pattern is not None:
        value = _matched(field.pattern, value)
    if field.transform is None:
        return value
    transform = _TRANSFORMS[field.transform]

    def transformed(node: LexborNode) -> str | None:
        found = value(node)
        return None if found is None else transform(found)

    return transformed


def _source(field: Field) -> Value:
    if (name := field.attribute) is not None:
        # An attribute without a value reads as "", as in the DOM.
        return lambda node: node.attrs.sget(name, None)
    if field.type == "html":
        return attrgetter("html")
    return lambda node: node.text(strip=True)


def _matched(pattern: str, source: Value) -> Value:
    compiled = compile_pattern(pattern)
    search, group = compiled.search, 1 if compiled.groups else 0

    def matched(node: LexborNode) -> str | None:
        match = search(source(node) or "")
        found: str | None = match.group(group) if match else None
        return found

    return matched
