"""Errors are found by kind and place, with where they came from, and nothing that is private."""

import json
import logging

import pytest
import requests
from django.core.signals import got_request_exception
from django.test import RequestFactory

from cachelayer.tests.servers import until
from performance.cards.errors import ErrorsCard
from performance.cards.shapes import Health, Level
from performance.entry import Name
from performance.models import Sample
from performance.observing import stream
from performance.recorders import errors
from performance.recording.process import buffer
from performance.recording.rescue import unobserved
from performance.storage.digest import Digest
from performance.storage.reading import Scope, top
from performance.tests.telling import cells, fact, forget, recorded, tell

pytestmark = pytest.mark.django_db
logger = logging.getLogger("somebody.else")
PLACE = "performance/tests/test_errors.py"


@pytest.fixture(autouse=True)
def _empty():
    forget()
    errors._kept_at.clear()


def fails(secret="hunter2"):
    raise ValueError("no such thing\nDETAIL: the whole row")


def happens(act=fails):
    """As when a view raises."""
    try:
        act()
    except Exception:
        got_request_exception.send(None, request=RequestFactory().get("/jobs?token=secret"))


def test_an_exception_of_a_request_is_known_by_its_kind_and_place():
    happens()
    found = recorded()
    assert list(found) == [Name("error", f"ValueError {PLACE}:fails")]
    assert [one.count for one in found.values()] == [1]


def test_the_place_is_the_projects_even_when_a_library_has_raised():
    happens(lambda: json.loads("{"))
    ((_, key),) = recorded()
    assert PLACE in key


def test_the_evidence_is_where_it_came_from():
    happens()
    (sample,) = buffer.take("").samples
    assert "fails" in sample.document["stack"][0]
    assert "happens" in sample.document["stack"][1]
    assert sample.document["view"] == "GET (no view)"


def test_the_evidence_has_neither_variables_nor_queries_nor_data():
    happens()
    text = str(buffer.take("").samples)
    assert "no such thing" in text
    assert not any(word in text for word in ("hunter2", "secret", "whole row"))


def test_an_endless_recursion_is_no_endless_evidence():
    def again():
        again()

    happens(again)
    (sample,) = buffer.take("").samples
    assert len(sample.document["stack"]) == errors.MOST_FRAMES


def test_an_exception_that_is_logged_is_counted_as_one():
    try:
        fails()
    except ValueError:
        logger.exception("it failed")
    found = buffer.take("")
    assert list(found.tallies) == [("error", f"ValueError {PLACE}:fails")]
    assert found.samples[0].document["logged"] == "it failed"


def test_an_error_without_an_exception_is_known_by_who_logged_it():
    logger.error("job %s went wrong", "abc")
    found = buffer.take("")
    ((_, key),) = found.tallies
    assert key.startswith(f"log {PLACE}:test_an_error_without")
    assert found.samples[0].document["message"] == "job abc went wrong"


def test_what_django_logs_of_a_failed_request_is_not_counted_again():
    try:
        fails()
    except ValueError:
        logging.getLogger("django.request").exception("Internal Server Error")
    assert recorded() == {}


def test_a_warning_is_no_error():
    logger.warning("careful")
    assert recorded() == {}


def test_what_the_console_logs_of_itself_is_not_recorded():
    logging.getLogger("performance.anything").error("oh")
    with unobserved():
        logger.error("oh")
    assert recorded() == {}


def test_an_error_while_recording_an_error_ends_there():
    class Strange:
        def __str__(self):
            logger.error("and again")
            return "strange"

    record = logger.makeRecord("x", logging.ERROR, "x.py", 1, "it is %s", (Strange(),), None, "f")
    errors.ErrorHandler().emit(record)
    assert sum(one.count for one in recorded().values()) == 1


def test_a_message_that_cannot_be_written_harms_nobody():
    handler = errors.ErrorHandler()
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "%d", ("no number",), None, "f")
    handler.emit(record)
    assert recorded() == {}


def test_of_the_same_error_many_times_one_is_kept_whole_and_all_are_counted():
    for _ in range(5):
        happens()
    found = buffer.take("")
    assert [one.count for one in found.tallies.values()] == [5]
    assert len(found.samples) == 1


@pytest.mark.parametrize("propagate", [False, True])
def test_what_the_server_says_of_an_answer_on_its_way_is_heard_once(monkeypatch, propagate):
    server = logging.getLogger(errors.SERVER)
    monkeypatch.setattr(server, "propagate", propagate)
    try:
        fails()
    except ValueError:
        server.exception("Error handling request")
    assert [one.count for one in recorded().values()] == [1]


def test_listening_twice_hears_once():
    errors.connect()
    logger.error("once")
    assert [one.count for one in recorded().values()] == [1]


def test_the_card_shows_the_latest_of_each_kind():
    happens()
    happens()
    logger.error("something else")
    tell("web/1")
    shown = ErrorsCard().content(Scope())
    rows = cells(shown, "errors")
    assert [row["count"] for row in rows] == [2, 1]
    assert (rows[0]["message"], rows[0]["process"]) == ("no such thing", "web/1")
    assert [one.key for one in shown.extra["latest"]] == [row["error"] for row in rows]


def test_more_kinds_than_are_shown_are_counted():
    for number in range(30):
        buffer.record(errors.NAME, f"ValueError x.py:{number}", 1.0)
    tell("web/1")
    shown = ErrorsCard().content(Scope())
    assert len(cells(shown, "errors")) == 25
    assert fact(shown, "Kinds").value == 30


def test_the_page_shows_where_an_error_came_from(admin_client):
    happens()
    tell("web/1")
    page = admin_client.get("/admin/performance/errors/").content.decode()
    assert f"{PLACE}:" in page
    assert "no such thing" in page


def test_no_errors_are_good_news():
    shown = ErrorsCard().content(Scope())
    assert shown.health == Health(Level.GREEN, "none in the last 5 minutes")
    assert "Nothing went wrong" in shown.empty


@pytest.mark.django_db(transaction=True)
def test_a_streamed_answer_that_fails_on_its_way_is_an_error_and_a_request(start_web):
    key = "ZeroDivisionError performance/tests/faulty_site.py:breaking.<locals>.parts"
    with start_web(DJANGO_SETTINGS_MODULE="performance.tests.faulty_settings") as base:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.get(f"{base}/breaking", timeout=30)
        digest = Digest(stream())
        until(
            lambda: (digest.run(), Sample.objects.filter(type=errors.NAME, key=key).exists())[1],
            "the error is told",
        )
    assert [line.count for line in top("request", Scope()) if line.key == "GET /breaking"] == [1]
