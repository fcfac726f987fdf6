"""Extraction of records by CSS: the spec becomes closures once, the pages run through them.

Follows crawl4ai's JsonCssExtractionStrategy: a selector sees the descendants of its element,
the first match counts, text is stripped piece by piece and joined, and an element where
nothing at all was found makes no record. Unlike there, a missing value is a null key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from jobs.errors import TooLarge, UnreadableDocument
from jobs.extraction.sweep import first_matches, is_simple
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


class _Plain(NamedTuple):
    """A field that is the text or an attribute of the first match, as most fields are."""

    name: str
    selector: str
    attribute: str | None
    default: Any

    def read(self, node: LexborNode | None, budget: _Budget) -> Any:
        if node is None:
            return self.default
        found: str | None
        if self.attribute is None:
            found = node.text(strip=True)
        elif (found := node.attrs.sget(self.attribute, None)) is None:
            return self.default
        if len(found) > SHORT:
            budget.spend(len(found))
        return found

    def read_all(self, nodes: Sequence[LexborNode | None], budget: _Budget) -> list[Any]:
        """The same for many nodes: a call for each would cost more than the reading."""
        found: list[str | None]
        if (name := self.attribute) is None:
            found = [None if node is None else node.text(strip=True) for node in nodes]
        else:
            found = [None if node is None else node.attrs.sget(name, None) for node in nodes]
        budget.spend(sum(len(value) for value in found if value is not None))
        if self.default is None:
            return found
        return [self.default if value is None else value for value in found]


class _Other(NamedTuple):
    """Any other field."""

    name: str
    read: _Reader


class Extractor:
    """A compiled spec; holds no state of a document, so it can be kept and shared."""

    __slots__ = ("_plan", "_read", "_selector", "_swept", "allows_empty")

    def __init__(self, selector: str, fields: Sequence[Field], *, allows_empty: bool) -> None:
        self.allows_empty = allows_empty
        self._selector = selector
        self._plan = _plan(fields)
        self._read = _record(fields)
        self._swept = {
            field.selector
            for field in self._plan
            if isinstance(field, _Plain) and is_simple(field.selector)
        }

    def extract(self, tree: LexborHTMLParser) -> list[dict[str, Any]]:
        """One record an element of the base selector, in document order.

        Raises TooLarge when the records outgrow MAX_RESULT_CHARS, UnreadableDocument when the
        engine gives up on the document.
        """
        budget = _Budget()
        try:
            elements = _distinct(self._selector, tree.css(self._selector))
            matches = first_matches(tree, elements, self._swept) if self._swept else None
            if matches is None:
                records = [self._read(element, budget) for element in elements]
            else:
                records = self._by_columns(elements, matches, budget)
        except SelectolaxError as error:
            raise UnreadableDocument from error
        return [record for record in records if _has_value(record)]

    def _by_columns(
        self,
        elements: list[LexborNode],
        matches: dict[str, list[LexborNode | None]],
        budget: _Budget,
    ) -> list[dict[str, Any]]:
        """The same records, read field by field."""
        budget.spend(SHORT * len(self._plan) * len(elements))
        columns = []
        for field in self._plan:
            if isinstance(field, _Other):
                columns.append([field.read(e, e.mem_id, budget) for e in elements])
                continue
            nodes = matches.get(field.selector) or [_first(e, field.selector) for e in elements]
            columns.append(field.read_all(nodes, budget))
        names = [field.name for field in self._plan]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _has_value(record: dict[str, Any]) -> bool:
    for value in record.values():  # noqa: SIM110  any() takes twice as long here
        if value is not None:
            return True
    return False


def compile_spec(spec: ExtractionSpec) -> Extractor:
    """Compile once, extract many times."""
    fields = (*spec.base_fields, *spec.fields)
    return Extractor(spec.base_selector, fields, allows_empty=spec.allow_empty)


def _plan(fields: Sequence[Field]) -> tuple[_Plain | _Other, ...]:
    return tuple(
        _Plain(f.name, f.selector, f.attribute, f.default)
        if f.selector is not None and _is_plain(f)
        else _Other(f.name, _reader(f))
        for f in fields
    )


def _record(fields: Sequence[Field]) -> _Record:
    plan = _plan(fields)
    cost = SHORT * len(plan)

    def read(element: LexborNode, budget: _Budget) -> dict[str, Any]:
        budget.spend(cost)
        own_id = element.mem_id
        return {
            field.name: field.read(_first(element, field.selector), budget)
            if isinstance(field, _Plain)
            else field.read(element, own_id, budget)
            for field in plan
        }

    return read


def _is_plain(field: Field) -> bool:
    return field.type in ("text", "attribute") and field.transform is None


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
        node = _first(element, selector)
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
        node = element if selector is None else _first(element, selector)
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


def _first(element: LexborNode, selector: str) -> LexborNode | None:
    """The first match below an element; the engine offers the element itself as one, too."""
    node = element.css_first(selector)
    if node is not None and node.mem_id == element.mem_id:
        return next(iter(_descendants(element, selector)), None)
    return node


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
