"""From a page's HTML to the formats that a job asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from selectolax.lexbor import LexborHTMLParser, SelectolaxError

from jobs.errors import UnreadableDocument
from jobs.extraction.charset import decode_html
from jobs.extraction.links import read_links
from jobs.extraction.metadata import read_metadata
from jobs.extraction.text import read_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from jobs.extraction.css import Extractor

__all__ = ["FORMATS", "build_result", "decode_html"]

FORMATS: frozenset[str] = frozenset({"data", "html", "text", "links", "metadata"})

_SURROGATE = re.compile("[\ud800-\udfff]")


def build_result(
    html: str, *, url: str, extractor: Extractor | None, formats: Collection[str]
) -> dict[str, Any]:
    """One key a requested format; `data` only with an extractor.

    Every string is storable in PostgreSQL. The document is parsed once, if at all. Raises
    UnreadableDocument, and TooLarge for records far larger than the document.
    """
    html = _storable(html)
    result: dict[str, Any] = {}
    if "html" in formats:
        result["html"] = html
    wants_data = extractor is not None and "data" in formats
    if not wants_data and not {"text", "links", "metadata"}.intersection(formats):
        return result
    tree = _parse(html)
    if extractor is not None and wants_data:
        result["data"] = extractor.extract(tree)
    if "text" in formats:
        result["text"] = read_text(tree)
    if "links" in formats:
        result["links"] = read_links(tree, url)
    if "metadata" in formats:
        result["metadata"] = read_metadata(tree, url)
    return result


def _parse(html: str) -> LexborHTMLParser:
    try:
        return LexborHTMLParser(html)
    except (SelectolaxError, ValueError) as error:
        raise UnreadableDocument from error


def _storable(html: str) -> str:
    """Entities need no second look: the parser turns `&#0;` and `&#xD800;` into U+FFFD."""
    html = html.replace("\0", "")
    try:
        html.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", html)
    return html
