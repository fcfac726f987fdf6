"""From a fetched document to what its job asked for; the same in the worker and in the sandbox."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.errors import UnreadableDocument
from jobs.extraction.css import compile_spec
from jobs.extraction.empty import check_result
from jobs.extraction.page import build_result, decode_html
from jobs.extraction.spec import ExtractionSpec

if TYPE_CHECKING:
    from collections.abc import Collection

    from jobs.extraction.css import Extractor

READABLE = ("text/", "application/xhtml", "application/xml", "application/json", "application/rss")


class Document(NamedTuple):
    """A body, what its server said about it, and what to make of it.

    `content_type` is the media type without parameters, `extract` an ExtractionSpec as JSON.
    """

    body: bytes
    content_type: str
    charset: str | None
    url: str
    extract: str | None
    formats: Collection[str]


def read_document(document: Document) -> dict[str, Any]:
    """One key a requested format.

    Raises UnreadableDocument when the document is neither text nor markup, EmptyPage and
    ExtractionEmpty when there is nothing in it, and TooLarge for a result far larger than it.
    """
    kind = document.content_type
    if kind and not kind.startswith(READABLE):
        raise UnreadableDocument(f"The document is {kind}, which cannot be read.")
    html = decode_html(document.body, document.charset)
    extractor = extractor_of(document.extract) if document.extract else None
    found = build_result(html, url=document.url, extractor=extractor, formats=document.formats)
    if extractor is None or not extractor.allows_empty:
        check_result(found, html, kind)
    return found


@lru_cache(maxsize=1000)
def extractor_of(spec: str) -> Extractor:
    """The compiled form of a stored extraction spec."""
    return compile_spec(ExtractionSpec.model_validate_json(spec))
