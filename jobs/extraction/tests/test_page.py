from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import UnreadableDocument
from jobs.extraction import FORMATS, ExtractionSpec, build_result, compile_spec, page

URL = "https://shop.example/list/page.html"
SPEC = ExtractionSpec.model_validate(
    {"baseSelector": "p", "fields": [{"name": "text", "type": "text"}]}
)
EXTRACTOR = compile_spec(SPEC)


def build(html: str, *formats: str, url: str = URL) -> dict[str, Any]:
    return build_result(html, url=url, extractor=EXTRACTOR, formats=formats)


def text(html: str) -> Any:
    return build(html, "text")["text"]


def links(html: str) -> Any:
    return build(html, "links")["links"]


def metadata(html: str) -> Any:
    return build(html, "metadata")["metadata"]


def test_there_is_one_key_for_each_requested_format() -> None:
    assert set(build("<p>a", *FORMATS)) == FORMATS
    assert set(build("<p>a", "links", "html")) == {"links", "html"}
    assert build("<p>a") == {}


def test_data_needs_an_extractor() -> None:
    assert build_result("<p>a", url=URL, extractor=None, formats=["data"]) == {}
    assert build("<p>a<p>b", "data") == {"data": [{"text": "a"}, {"text": "b"}]}


def test_html_is_the_document_as_received() -> None:
    assert build("<P>a<b>", "html")["html"] == "<P>a<b>"


def test_one_format_does_not_change_another() -> None:
    html = "<title>t</title><script>s</script><p>a<script>b</script></p><a href=/x>l</a>"
    together = build(html, *FORMATS)
    assert together == {name: build(html, name)[name] for name in FORMATS}


def test_unstorable_characters_are_removed_or_replaced() -> None:
    html = "<p title='\x00&#0;\ud800&#xD800;'>a\x00b\ud800c&#0;&#xdfff;</p>"
    assert build(html, "html", "text") == {
        "html": "<p title='&#0;\ufffd&#xD800;'>ab\ufffdc&#0;&#xdfff;</p>",
        "text": "ab\ufffdc\ufffd\ufffd",
    }


def test_a_parser_that_gives_up_is_an_unreadable_document(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(html: str) -> None:
        raise ValueError("too large")

    monkeypatch.setattr(page, "LexborHTMLParser", give_up)
    with pytest.raises(UnreadableDocument):
        text("<p>")


TAGS = ["<p>", "</p>", "<a href=x>", "<a href='http://[//'>", "<pre>", "<script>", "&#0;", "\x00"]


@settings(derandomize=True, deadline=None)
@given(st.text() | st.lists(st.sampled_from(TAGS)).map("".join))
def test_any_text_is_built_into_storable_strings(html: str) -> None:
    assert "\\u0000" not in json.dumps(build(html, *FORMATS))


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(categories=["Cs", "Lu"])))
def test_lone_surrogates_never_come_out(html: str) -> None:
    str(build(f"<p>{html}</p><a href='{html}'>", *FORMATS)).encode()


def test_text_has_a_line_for_each_block_and_joins_inline_elements() -> None:
    html = "<h1>Title</h1><p>One <b>bo</b>ld\n  word</p><ul><li>a<li>b</ul>tail<br>end"
    assert text(html) == "Title\nOne bold word\na\nb\ntail\nend"


def test_text_leaves_out_what_no_reader_sees() -> None:
    html = (
        "<title>t</title><style>s</style><p>a<script>b</script><noscript>c</noscript>"
        "<template>d</template><!-- e -->f</p>"
    )
    assert text(html) == "af"


def test_text_keeps_the_lines_of_preformatted_blocks_only() -> None:
    assert text("<pre><code>a\nb</code></pre><p>c\nd</p>") == "a\nb\nc d"


def test_text_separates_the_cells_of_a_row() -> None:
    assert text("<table><tr><td>a<td>b<tr><td>c</table>") == "a b\nc"


def test_text_of_deeply_nested_elements_does_not_exhaust_the_stack() -> None:
    assert text("<div>" * 3000 + "x") == "x"


def test_text_of_an_empty_document_is_empty() -> None:
    assert text("") == ""


def test_links_are_absolute_and_relative_to_the_page() -> None:
    assert links("<a href='../x'> to  <b>x</b> </a><a href='//b.example/'>y</a>") == [
        {"url": "https://shop.example/x", "text": "to x"},
        {"url": "https://b.example/", "text": "y"},
    ]


def test_links_are_relative_to_the_base_element_when_there_is_one() -> None:
    assert links("<base href='/other/'><a href=x>")[0]["url"] == "https://shop.example/other/x"


@pytest.mark.parametrize("base", ["javascript:x", "http://[", "data:text/html,x"])
def test_a_base_that_is_no_web_address_is_ignored(base: str) -> None:
    assert links(f"<base href='{base}'><a href=x>")[0]["url"] == "https://shop.example/list/x"


NOT_WEB = [
    "javascript:x()",
    " JavaScript:x",
    "java\nscript:x",
    "data:,x",
    "mailto:a@b.c",
    "ftp://a/b",
]


@pytest.mark.parametrize("href", [*NOT_WEB, "http://[::1", "http:///x", "tel:1"])
def test_links_that_are_no_web_addresses_are_dropped(href: str) -> None:
    assert links(f"<a href='{href}'>x</a>") == []


def test_the_first_of_equal_links_stays_in_its_place() -> None:
    html = (
        "<a href=/a rel='nofollow ugc'>1</a><a href=/b>2</a><a href='https://shop.example/a'>3</a>"
    )
    assert [(link["text"], link.get("rel")) for link in links(html)] == [
        ("1", "nofollow ugc"),
        ("2", None),
    ]


def test_metadata_is_read_from_the_head() -> None:
    html = """<html lang=en><title> A
      shop </title><meta name=Description content=" All  lamps ">
      <meta property=og:title content=Lamps>
      <meta property="og:image" content=1><meta property="og:image" content=2>
      <meta name="twitter:card" content=summary><link rel="canonical" href="/list">
      <link rel=alternate type="application/rss+xml" href=feed.xml><link rel=alternate href=/de>"""
    assert metadata(html) == {
        "title": "A shop",
        "description": "All lamps",
        "language": "en",
        "canonical": "https://shop.example/list",
        "feeds": ["https://shop.example/list/feed.xml"],
        "og:title": "Lamps",
        "og:image": "1",
        "twitter:card": "summary",
    }


def test_metadata_of_a_bare_page_is_null() -> None:
    assert metadata("<svg><title>icon</title></svg><link rel=canonical href='javascript:x'>") == {
        "title": None,
        "description": None,
        "language": None,
        "canonical": None,
        "feeds": [],
    }
