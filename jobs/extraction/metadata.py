"""What a page says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.extraction.links import absolute, base_url

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_FEEDS = ("application/rss+xml", "application/atom+xml")


def read_metadata(tree: LexborHTMLParser, url: str) -> dict[str, Any]:
    """Always title, description, language, canonical (or null) and feeds (a list of URLs).

    Besides, each `og:*` and `twitter:*` property under its own name; the first one counts.
    """
    base = base_url(tree, url)
    named = _named(tree)
    title, html = tree.css_first("head > title"), tree.css_first("html")
    canonical, feeds = _linked(tree, base)
    return {
        "title": _collapsed(title.text()) if title else None,
        "description": named.pop("description", None),
        "language": (_attribute(html, "lang") if html else "") or None,
        "canonical": canonical,
        "feeds": feeds,
        **named,
    }


def _named(tree: LexborHTMLParser) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in tree.css("meta[content]"):
        name = (_attribute(node, "property") or _attribute(node, "name")).lower()
        if name == "description" or name.startswith(("og:", "twitter:")):
            found.setdefault(name, _collapsed(_attribute(node, "content")))
    return found


def _linked(tree: LexborHTMLParser, base: str) -> tuple[str | None, list[str]]:
    canonical, feeds = None, []
    for node in tree.css("link[href][rel]"):
        target = absolute(base, _attribute(node, "href"))
        relations = _attribute(node, "rel").lower().split()
        if target and "canonical" in relations:
            canonical = canonical or target
        if target and "alternate" in relations and _attribute(node, "type").lower() in _FEEDS:
            feeds.append(target)
    return canonical, feeds


def _attribute(node: LexborNode, name: str) -> str:
    return (node.attrs.sget(name, "") or "").strip()


def _collapsed(text: str) -> str:
    return " ".join(text.split())
