"""Requests are counted by what users wait for, and not by what they ask to wait."""

import pytest
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import SimpleTemplateResponse
from django.test import RequestFactory

from jobs.models import Job
from jobs.signals import client_waited
from performance.cards.requests import RequestsCard, bar
from performance.entry import Name
from performance.middleware import RequestsMiddleware
from performance.profiling.requests import wanted
from performance.recorders.requests import ALL, EVIDENCE_FROM, NAME, PARTS, record_parts
from performance.recording import buffer as module
from performance.recording.process import buffer
from performance.recording.watch import Watch, current
from performance.storage.reading import Scope
from performance.tests.telling import cells, forget, tell

# That an answer was sent is told to connections too.
pytestmark = pytest.mark.django_db

VIEW = "GET (no view)"


@pytest.fixture(autouse=True)
def _nothing_recorded(monkeypatch):
    forget()
    wanted.clear()
    monkeypatch.setattr(buffer, "_bars", {})


def watch():
    """That of the present request."""
    found = current.get()
    assert found
    return found


def ask(view, path="/"):
    """The answer of that view, watched."""
    return RequestsMiddleware(view)(RequestFactory().get(path))


def test_what_a_client_asks_to_wait_is_no_slowness():
    def view(_request):
        watch().started -= 31.0
        client_waited.send(Job, seconds=30.0)
        return HttpResponse()

    ask(view)
    tally = buffer.take("me").tallies[Name(ALL, "")]
    assert 1000 <= tally.sum < 30_000


def test_a_client_that_waits_outside_a_request_harms_nobody():
    client_waited.send(Job, seconds=30.0)
    assert current.get() is None


def test_a_bar_counts_what_an_answer_takes_once():
    found = bar(100.0, {"pool": 10.0, "render": 30.0, "cpu": 50.0})
    assert found
    assert [length for length in found.parts.values() if length] == [10, 30, 20]
    assert (found.rest, str(found)) == (40, "40 % unexplained")


def test_a_request_that_nobody_looked_at_has_no_bar():
    assert bar(100.0, {"pool": None}) is None


def slow(milliseconds, **waited):
    """A view that has taken so long, and has waited for these."""

    def view(_request):
        watch().started -= milliseconds / 1000
        for part, value in waited.items():
            setattr(watch(), part, value)
        return HttpResponse(status=201)

    return view


def test_a_slow_request_is_kept_with_what_it_waited_for_and_without_its_query():
    ask(slow(500.0, database=120.004, queries=7), "/jobs?secret=1")
    (sample,) = buffer.take("").samples
    parts = sample.document.pop("parts")
    assert (sample.type, sample.key) == (NAME, VIEW)
    assert sample.document == {"path": "/jobs", "status": 201, "queries": 7}
    assert parts.keys() == set(PARTS)
    assert parts["database"] == 120.0


@pytest.mark.parametrize(("milliseconds", "kept"), [(EVIDENCE_FROM, 1), (EVIDENCE_FROM - 0.1, 0)])
def test_what_is_not_slow_is_no_evidence(milliseconds, kept):
    record_parts(Watch(), VIEW, 200, milliseconds)
    assert len(buffer.take("").samples) == kept


def test_the_card_names_the_slowest_requests_and_what_they_waited_for():
    for milliseconds, path in ((300.0, "/slow"), (900.0, "/slower")):
        ask(slow(milliseconds, database=250.0), path)
    tell("web/1")
    rows = cells(RequestsCard().content(Scope()), "slowest")
    assert [row["path"] for row in rows] == ["/slower", "/slow"]
    assert [row["database"] for row in rows] == [250.0, 250.0]


def test_turning_an_answer_into_bytes_is_told_by_itself():
    def view(request):
        response = SimpleTemplateResponse(engines["django"].from_string("content"))
        middleware = RequestsMiddleware(view)
        return middleware.process_template_response(request, response).render()

    ask(view)
    assert buffer.take("").tallies[Name("request.render", VIEW)].sum > 0


def streamed(*parts):
    """A view that makes these while they are sent: what is called, is called then."""

    def make():
        for part in parts:
            yield part() if callable(part) else part

    return lambda _request: StreamingHttpResponse(make())


def test_what_a_streamed_answer_waits_for_belongs_to_its_request():
    def query():
        watch().queries += 1
        return b"line"

    response = ask(streamed(query, query))
    assert Name(NAME, VIEW) not in buffer.take("").tallies
    assert b"".join(response) == b"lineline"
    response.close()
    found = buffer.take("").tallies
    assert found[Name(NAME, VIEW)].count == 1
    assert found[Name("request.queries", VIEW)].sum == 2
    assert current.get() is None


def test_a_streamed_answer_is_recorded_with_all_that_it_computed(monkeypatch):
    # At once: there is no later for what is missing.
    monkeypatch.setattr(module, "MOST_PUT_OFF", 1)
    list(ask(streamed(b"line", lambda: sum(range(100_000)) and b"line")))
    assert buffer.take("").tallies[Name("request.cpu", VIEW)].sum > 0


def test_a_streamed_answer_that_fails_is_a_request_all_the_same():
    def fail():
        raise ZeroDivisionError

    response = ask(streamed(b"line", fail))
    with pytest.raises(ZeroDivisionError):
        list(response)
    response.close()
    assert buffer.take("").tallies[Name(NAME, VIEW)].count == 1


def test_a_streamed_answer_that_nobody_reads_to_its_end_is_a_request_all_the_same():
    response = ask(streamed(b"line", b"line"))
    next(iter(response))
    response.close()
    assert buffer.take("").tallies[Name(NAME, VIEW)].count == 1


def test_how_long_somebody_takes_to_read_is_no_slowness():
    response = ask(streamed(b"line", b"line"))
    parts = iter(response)
    next(parts)
    watched = response._iterator
    watched._sent_at -= 31.0
    watched._watch.started -= 31.0
    list(parts)
    assert buffer.take("").tallies[Name(NAME, VIEW)].sum < 30_000


def test_a_file_is_left_to_the_server_to_send(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    response = ask(lambda _request: FileResponse(file.open("rb")))
    assert response.file_to_stream is not None
    response.close()
    assert buffer.take("").tallies[Name(NAME, VIEW)].count == 1
