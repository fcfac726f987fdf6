"""From a page or an error to an outcome."""

from datetime import UTC, datetime

import pytest
from uuid_utils.compat import uuid4

from jobs.engine.pipeline import failure, read, retry_delay
from jobs.engine.repository import Claim
from jobs.errors import (
    BlockedTarget,
    ConnectionFailed,
    ExtractionEmpty,
    Throttled,
    UnreadableDocument,
)
from jobs.fetching import Page

EXTRACT = '{"baseSelector": "li", "fields": [{"name": "t", "type": "text"}]}'


def new_claim(attempt=1, max_attempts=3, extract=None, formats=("html",), timeout=30):
    return Claim(
        engine_id=1,
        job_id=uuid4(),
        client_id=uuid4(),
        batch_id=None,
        token=uuid4(),
        attempt=attempt,
        max_attempts=max_attempts,
        url="http://x.example/",
        host="x.example",
        extract=extract,
        formats=formats,
        timeout=timeout,
        ignores_robots=False,
        watched=False,
        queued_ms=0,
        queued_for="workers",
    )


def new_page(body=b"<ul><li>one<li>two</ul>", content_type="text/html"):
    return Page("http://x.example/", 200, content_type, None, body, datetime.now(UTC))


def test_a_page_becomes_what_the_job_asked_for():
    content = read(new_page(), new_claim(extract=EXTRACT, formats=("data", "text")))
    assert content.formats == {"data": [{"t": "one"}, {"t": "two"}], "text": "one\ntwo"}


def test_a_picture_is_not_readable():
    with pytest.raises(UnreadableDocument, match="image/png"):
        read(new_page(content_type="image/png"), new_claim())


def test_a_page_without_a_type_is_read_as_html():
    assert read(new_page(content_type=""), new_claim()).formats["html"].startswith("<ul>")


def test_a_transient_error_is_tried_again():
    outcome = failure(new_claim(attempt=1), ConnectionFailed())
    assert outcome.state == "queued"
    assert outcome.delay > 0


def test_the_last_attempt_is_not_tried_again():
    assert failure(new_claim(attempt=3), ConnectionFailed()).state == "failed"


def test_a_permanent_error_is_not_tried_again():
    assert failure(new_claim(attempt=1), BlockedTarget()).state == "failed"


def test_a_target_that_asks_for_a_pause_gets_it():
    outcome = failure(new_claim(), Throttled(retry_after=120))
    assert outcome.delay >= 120


def test_a_target_cannot_ask_for_an_endless_pause():
    assert retry_delay(1, Throttled(retry_after=10**9)) <= 3600


@pytest.mark.parametrize("attempt", range(1, 20))
def test_pauses_grow_within_their_bounds(attempt):
    assert 1 <= retry_delay(attempt, ConnectionFailed()) <= 300
    assert retry_delay(attempt, ConnectionFailed()) <= 2 * 2.0 ** (attempt - 1)


def test_a_cause_that_takes_longer_to_go_away_is_given_longer():
    assert retry_delay(1, Throttled()) > retry_delay(1, ConnectionFailed())


def test_a_spec_that_finds_nothing_fails():
    with pytest.raises(ExtractionEmpty):
        read(new_page(b"<p>nothing here</p>"), new_claim(extract=EXTRACT, formats=("data",)))


def test_a_spec_may_say_that_nothing_is_all_right():
    extract = EXTRACT[:-1] + ', "allowEmpty": true}'
    content = read(new_page(b"<p>nothing</p>"), new_claim(extract=extract, formats=("data",)))
    assert content.formats == {"data": []}
