"""Results that hold nothing: a failure with a reason, not a success without content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selectolax.lexbor import LexborHTMLParser

from jobs.errors import EmptyPage, ExtractionEmpty
from jobs.extraction.text import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

# Characters of HTML that are not parsed only to find out that something is there.
SURELY_SOMETHING = 2_048

_HTML = frozenset({"", "text/html", "application/xhtml+xml"})
_CONTENT = frozenset({"data", "html", "text"})
_SHOWN = (
    "img, svg, picture, video, audio, canvas, iframe, frame, object, embed, math, "
    "button, select, textarea, input:not([type=hidden])"
)


def check_result(result: Mapping[str, Any], html: str, content_type: str) -> None:
    """Refuse a result of `build_result` whose `data`, `html` and `text` are about nothing.

    `html` is the document the result is of. Raises EmptyPage when it shows nothing, and
    ExtractionEmpty when it does but the spec found no record. Other formats are not judged, and
    of a document that is no HTML only whether it is blank.
    """
    if result.get("data") or not _CONTENT.intersection(result):
        return
    if not result.get("text") and _is_empty(html, content_type, result):
        raise EmptyPage
    if "data" in result:
        raise ExtractionEmpty


def _is_empty(html: str, content_type: str, asked_for: Mapping[str, Any]) -> bool:
    if not html or html.isspace():
        return True
    if content_type not in _HTML:
        return False
    if asked_for.keys() == {"html"} and len(html) > SURELY_SOMETHING:
        return False
    tree = LexborHTMLParser(html.encode(errors="replace"))  # lone surrogates stop a parser
    # Who asks for the HTML may be after what scripts would have shown.
    shown = f"{_SHOWN}, script" if "html" in asked_for else _SHOWN
    return not tree.css_first(shown) and not read_text(tree)
