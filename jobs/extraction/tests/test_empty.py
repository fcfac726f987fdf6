from __future__ import annotations

import pytest

from jobs.errors import EmptyPage, ExtractionEmpty
from jobs.extraction import ExtractionSpec, build_result, check_result, compile_spec
from jobs.extraction.empty import SURELY_SOMETHING

EXTRACTOR = compile_spec(
    ExtractionSpec.model_validate(
        {"baseSelector": "li", "fields": [{"name": "text", "type": "text"}]}
    )
)
SHELL = "<!doctype html><title>Shop</title><div id=app></div><script src=/app.js></script>"


def check(html: str, *formats: str, content_type: str = "text/html") -> None:
    result = build_result(html, url="http://x.example/", extractor=EXTRACTOR, formats=formats)
    check_result(result, html, content_type)


@pytest.mark.parametrize("asked_for", ["html", "text", "data"])
@pytest.mark.parametrize(
    "html",
    [
        "",
        " \n\t",
        "<!doctype html><html><head><title>Shop</title></head><body></body></html>",
        "<body><div id=app>&nbsp;</div><style>p {}</style><input type=hidden>",
    ],
)
def test_a_page_that_shows_nothing_is_an_empty_page(html: str, asked_for: str) -> None:
    with pytest.raises(EmptyPage):
        check(html, asked_for)


@pytest.mark.parametrize("asked_for", ["html", "text"])
@pytest.mark.parametrize("html", ["a", "<p>a", "<p>\ud800", "<img src=a>", "<svg></svg>"])
def test_whatever_a_reader_sees_is_content(html: str, asked_for: str) -> None:
    check(html, asked_for)


def test_a_page_that_scripts_would_fill_is_empty_unless_its_html_is_asked_for() -> None:
    check(SHELL, "html")
    check(SHELL, "html", "text")
    with pytest.raises(EmptyPage, match="scripts"):
        check(SHELL, "text")
    with pytest.raises(EmptyPage):
        check(SHELL, "data")


def test_a_long_page_without_text_is_empty_when_its_text_is_asked_for() -> None:
    html = f"<style>{'p {} ' * SURELY_SOMETHING}</style>"
    check(html, "html")
    with pytest.raises(EmptyPage):
        check(html, "text")


def test_a_spec_that_finds_no_record_is_an_empty_extraction_whatever_else_is_found() -> None:
    for formats in (["data"], ["data", "text"], ["data", "html", "links"]):
        with pytest.raises(ExtractionEmpty, match="selectors"):
            check("<p>no list here", *formats)


def test_one_record_is_enough() -> None:
    check("<li>one", "data")


def test_links_and_metadata_alone_are_not_judged() -> None:
    check("", "links", "metadata")
    check("")


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        ("[]", "application/json"),
        ('{"products": []}', "application/json"),
        ('<config version="1"/>', "application/xml"),
        ('<rss version="2.0"><channel/></rss>', "application/rss+xml"),
    ],
)
def test_a_feed_with_nothing_in_it_is_still_a_document(document: str, content_type: str) -> None:
    check(document, "html", content_type=content_type)


def test_a_blank_feed_is_an_empty_page() -> None:
    with pytest.raises(EmptyPage):
        check("\n", "html", content_type="application/json")
