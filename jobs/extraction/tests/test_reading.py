"""From a fetched document to what its job asked for."""

import pytest

from jobs.errors import ExtractionEmpty, UnreadableDocument
from jobs.extraction.reading import Document, read_document

EXTRACT = '{"baseSelector": "li", "fields": [{"name": "t", "type": "text"}]}'
LIST = b"<ul><li>one<li>two</ul>"


def document(body=LIST, content_type="text/html", extract=None, formats=("html",)):
    return Document(body, content_type, None, "http://x.example/", extract, formats)


def test_a_page_becomes_what_the_job_asked_for():
    found = read_document(document(extract=EXTRACT, formats=("data", "text")))
    assert found == {"data": [{"t": "one"}, {"t": "two"}], "text": "one\ntwo"}


def test_a_picture_is_not_readable():
    with pytest.raises(UnreadableDocument, match="image/png"):
        read_document(document(content_type="image/png"))


def test_a_page_without_a_type_is_read_as_html():
    assert read_document(document(content_type=""))["html"].startswith("<ul>")


def test_a_spec_that_finds_nothing_fails():
    with pytest.raises(ExtractionEmpty):
        read_document(document(b"<p>nothing here</p>", extract=EXTRACT, formats=("data",)))


def test_a_spec_may_say_that_nothing_is_all_right():
    extract = EXTRACT[:-1] + ', "allowEmpty": true}'
    found = read_document(document(b"<p>nothing</p>", extract=extract, formats=("data",)))
    assert found == {"data": []}
