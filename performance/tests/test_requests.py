"""Requests are counted by what users wait for, and not by what they ask to wait."""

from django.http import HttpResponse
from django.test import RequestFactory

from jobs.models import Job
from jobs.signals import client_waited
from performance.entry import Name
from performance.middleware import RequestsMiddleware
from performance.recorders.requests import ALL
from performance.recording.process import buffer
from performance.recording.watch import current


def test_what_a_client_asks_to_wait_is_no_slowness():
    def view(_request):
        watch = current.get()
        assert watch
        watch.started -= 31.0
        client_waited.send(Job, seconds=30.0)
        return HttpResponse()

    buffer.take("before")
    RequestsMiddleware(view)(RequestFactory().get("/"))
    tally = buffer.take("me").tallies[Name(ALL, "")]
    assert 1000 <= tally.sum < 30_000


def test_a_client_that_waits_outside_a_request_harms_nobody():
    client_waited.send(Job, seconds=30.0)
    assert current.get() is None
