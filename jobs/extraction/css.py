"""Extraction of records by CSS: the spec becomes closures once, the pages run through them.

Follows crawl4ai's JsonCssExtractionStrategy: a selector sees the descendants of its element,
the first match counts, text is stripped piece by piece and joined, and an element where
nothing at all was found makes no record. Unlike there, a missing value is a null key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from jobs.errors import TooLarge, UnreadableDocument
from jobs.extraction.values import Value, compile_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.extraction.spec import ExtractionSpec, Field

# Nested elements and `html` fields can make a result far larger than its document.
MAX_RESULT_CHARS = 20_000_000
# A record costs this much for each field in advance; only longer values are counted one by one.
SHORT = 64


class _Budget:
    """What one extraction may still produce, in characters."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_RESULT_CHARS

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise TooLarge("The extracted result is larger than this service accepts.")


_Reader = Callable[[LexborNode, int, _Budget], Any]
_Record = Callable[[LexborNode, _Budget], dict[str, Any]]


class Extractor:
    """A compiled spec; holds no state of a document, so it can be kept and shared."""

    __slots__ = ("_read", "_selector")

    def __init__(self, selector: str, read: _Record) -> None:
        self._selector = selector
        self._read = read

    def extract(self, tree: LexborHTMLParser) -> list[dict[str, Any]]:
        """One record an element of the base selector, in document order.

        Raises TooLarge when the records outgrow MAX_RESULT_CHARS, UnreadableDocument when the
        engine gives up on the document.
        """
        budget, read = _Budget(), self._read
        records = []
        try:
            for element in _distinct(self._selector, tree.css(self._selector)):
                record = read(element, budget)
                for value in record.values():
                    if value is not None:
                        records.append(record)
                        break
        except SelectolaxError as error:
            raise UnreadableDocument from error
        return records


def compile_spec(spec: ExtractionSpec) -> Extractor:
    """Compile once, extract many times."""
    return Extractor(spec.base_selector, _record((*spec.base_fields, *spec.fields)))


def _record(fields: Sequence[Field]) -> _Record:
    # Plain text and attributes, which most fields are, are read in this loop: a call for each
    # costs more than the reading. `reader` is for the rest.
    plan = tuple(
        (f.name, f.selector or "", f.attribute, f.default, None if _is_plain(f) else _reader(f))
        for f in fields
    )
    cost = SHORT * len(plan)

    def read(element: LexborNode, budget: _Budget) -> dict[str, Any]:
        budget.spend(cost)
        own_id = element.mem_id
        record: dict[str, Any] = {}
        for name, selector, attribute, default, reader in plan:
            if reader is not None:
                record[name] = reader(element, own_id, budget)
                continue
            node = element.css_first(selector)
            if node is not None and node.mem_id == own_id:
                node = _first_descendant(element, selector)
            if node is None:
                record[name] = default
                continue
            found: str | None
            if attribute is None:
                found = node.text(strip=True)
            elif (found := node.attrs.sget(attribute, None)) is None:
                record[name] = default
                continue
            record[name] = found
            if len(found) > SHORT:
                budget.spend(len(found))
        return record

    return read


def _is_plain(field: Field) -> bool:
    return (
        field.type in ("text", "attribute")
        and field.selector is not None
        and field.transform is None
    )


def _reader(field: Field) -> _Reader:
    if field.type == "nested":
        return _nested(field)
    if field.type in ("list", "nested_list"):
        return _list(field)
    return _leaf(field)


def _leaf(field: Field) -> _Reader:
    selector, default = field.selector, field.default
    if selector is None:
        return _own(compile_value(field), default)
    value = compile_value(field)

    def read(element: LexborNode, own_id: int, budget: _Budget) -> Any:
        node = element.css_first(selector)
        if node is None:
            return default
        # The engine offers the element itself as a match; CSS scoping means descendants.
        if node.mem_id == own_id:
            node = _first_descendant(element, selector)
            if node is None:
                return default
        found = value(node)
        if found is None:
            return default
        if len(found) > SHORT:
            budget.spend(len(found))
        return found

    return read


def _own(value: Value, default: Any) -> _Reader:
    def read(element: LexborNode, own_id: int, budget: _Budget) -> Any:
        found = value(element)
        if found is None:
            return default
        if len(found) > SHORT:
            budget.spend(len(found))
        return found

    return read


def _nested(field: Field) -> _Reader:
    selector, default, record = field.selector, field.default, _record(field.fields or ())

    def read(element: LexborNode, own_id: int, budget: _Budget) -> Any:
        node = element if selector is None else _first_descendant(element, selector)
        if node is None:
            return default
        return record(node, budget)

    return read


def _list(field: Field) -> _Reader:
    selector, default, record = field.selector, field.default, _record(field.fields or ())

    def read(element: LexborNode, own_id: int, budget: _Budget) -> Any:
        nodes = [element] if selector is None else _descendants(element, selector)
        if not nodes and default is not None:
            return default
        return [record(node, budget) for node in nodes]

    return read


def _first_descendant(element: LexborNode, selector: str) -> LexborNode | None:
    return next(iter(_descendants(element, selector)), None)


def _descendants(element: LexborNode, selector: str) -> list[LexborNode]:
    nodes = _distinct(selector, element.css(selector))
    if nodes and nodes[0].mem_id == element.mem_id:
        del nodes[0]
    return nodes


def _distinct(selector: str, nodes: list[LexborNode]) -> list[LexborNode]:
    """The engine reports an element once for each alternative of a selector list it matches."""
    if "," not in selector:
        return nodes
    return list({node.mem_id: node for node in nodes}.values())
