"""The links of a page and the URLs in its metadata, absolute and http(s) only."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser


def base_url(tree: LexborHTMLParser, url: str) -> str:
    """What the document's relative URLs are relative to."""
    base = tree.css_first("base[href]")
    return absolute(url, base.attrs.sget("href", "") or "") or url if base else url


def absolute(base: str, reference: str) -> str | None:
    """`reference` as an absolute http(s) URL, or None when it is none."""
    try:
        joined = urljoin(base, reference.strip())
        parts = urlsplit(joined)
    except ValueError:
        return None
    return joined if parts.scheme in ("http", "https") and parts.netloc else None


def read_links(tree: LexborHTMLParser, url: str) -> list[dict[str, str]]:
    """`{url, text}` and `rel` where given, in document order; the first of equal URLs stays."""
    base = base_url(tree, url)
    links: dict[str, dict[str, str]] = {}
    for node in tree.css("a[href], area[href]"):
        target = absolute(base, node.attrs.sget("href", "") or "")
        if target is None or target in links:
            continue
        links[target] = {"url": target, "text": " ".join(node.text().split())}
        if rel := node.attrs.sget("rel", ""):
            links[target]["rel"] = rel
    return list(links.values())
