"""Which documents are not read in the worker itself."""

import pytest

from jobs.extraction.reading import Document
from jobs.extraction.suspicion import (
    LARGE,
    MANY_TAGS,
    backtracking,
    has_more_tags,
    is_suspicious,
    tag_limit,
)

LISTING = b"<ul>" + b'<li class="x"><a href="/1">A product</a> for 12.95' * 100 + b"</ul>"


def new_document(body=LISTING, extract=None):
    return Document(body, "text/html", None, "http://x.example/", extract, ("text",))


def spec(field_selector="a", base="li", more=""):
    field = f'{{"name": "t", "type": "text", "selector": "{field_selector}"}}'
    return f'{{"baseSelector": "{base}", "fields": [{field}{more}]}}'


@pytest.mark.parametrize(
    "body",
    [b"", b"<p>x", LISTING, b"x" * LARGE, LISTING + b"<script>" + b"a=b;" * 10_000],
)
def test_ordinary_documents_are_read_in_the_worker(body):
    assert not is_suspicious(new_document(body))


@pytest.mark.parametrize(
    "body",
    [
        b"<div>" * 4_000,
        b"<table><tr><td>" * 1_000,
        b"<font color=1>" * 2_000,
        b"<svg>" + b"<a href=1>x" * 2_000,
        b"<ul><li>" * 2_000,
        b"<p>" + b"".join(b"<b %d>" % n for n in range(1_000)) + b"<p>x" * 1_000,
        b"".join(b"<b %d>" % n for n in range(1_000)) + b"<div>" * 1_000 + b"</b>" * 1_000,
        b"<a " + b"".join(b"%x " % n for n in range(20_000)),
        b"<html a=1>" * 2_000,
        "<div>".encode("utf-16-le") * 4_000,
    ],
)
def test_documents_that_take_long_or_much_memory_are_not(body):
    assert is_suspicious(new_document(body))


def test_a_document_that_may_have_taken_a_worker_down_is_not():
    assert is_suspicious(new_document(b"<p>x"), crashes=1)


def test_a_usual_spec_does_not_change_that():
    assert not is_suspicious(new_document(extract=spec()))
    assert tag_limit(spec()) == MANY_TAGS


def test_a_selector_that_backtracks_lowers_the_limit_with_each_combinator():
    limits = [tag_limit(spec("u " + "div " * count + "p")) for count in range(6)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] > 500
    assert limits[5] < 100


def test_a_small_page_is_suspicious_with_a_selector_that_could_take_hours():
    body = b"<div>" * 200 + b"<p>x"
    assert not is_suspicious(new_document(body))
    assert is_suspicious(new_document(body, extract=spec("u div div div div div p")))
    assert is_suspicious(new_document(body, extract=spec(base="u div div div div div p")))


def test_records_in_records_lower_the_limit():
    nested = ', {"name": "n", "type": "nested_list", "selector": "div", "fields": [%s]}'
    leaf = '{"name": "x", "type": "text", "selector": "u"}'
    assert tag_limit(spec(more=nested % leaf)) < 500


@pytest.mark.parametrize(
    ("selector", "count"),
    [
        ("", 0),
        (" a.b#c ", 0),
        ("a > b+c", 0),
        ("a b", 1),
        ("a  b ~c", 2),
        ("a, b", 0),
        ("a:has(b:has(c d))", 3),
    ],
)
def test_what_the_engine_goes_back_over_is_counted(selector, count):
    assert backtracking(selector) == count


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_tags_are_counted_up_to_a_limit(count):
    assert has_more_tags(b"<p>" * count, 2) == (count > 2)
