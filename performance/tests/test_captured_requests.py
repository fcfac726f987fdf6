"""What is kept of a captured request is bounded, and written in one go."""

from math import inf

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from silk.models import SQLQuery

from cachelayer.layer import cache_layer
from performance.profiling import requests, silk

VIEW = "GET /asking"


@pytest.mark.django_db
def test_a_request_is_written_in_a_few_statements_however_many_queries_it_had():
    profile = requests.Profile(1, 1, VIEW, "GET", "/asking")
    cursor = connection.cursor()
    for _ in range(20):
        profile.watched(lambda *_: None, "SELECT %s::int", [1], False, {"cursor": cursor})
    with CaptureQueriesContext(connection) as written:
        silk.write(profile)
    # A savepoint and its release among them.
    assert len(written) <= 6
    assert SQLQuery.objects.count() == 20


def test_of_very_many_queries_the_first_are_kept_and_all_are_counted():
    profile = requests.Profile(1, 1, VIEW, "GET", "/asking")
    for _ in range(requests.MOST_QUERIES + 7):
        profile.watched(lambda *_: None, "SELECT 1", None, False, {})
    assert len(profile.queries) == requests.MOST_QUERIES
    assert profile.count == requests.MOST_QUERIES + 7


@pytest.mark.django_db
@pytest.mark.urls("performance.tests.profiled_site")
def test_the_more_requests_are_captured_the_fewer_queries_of_each_are_kept(client):
    for number, most in ((1, 500), (20, 500), (100, 100)):
        capture = -number
        cache_layer().remote.call(("UNLINK", requests.count_key(capture)))
        requests.wanted[VIEW] = requests.Wanted(capture, number, inf)
        client.get("/asking")
        assert requests.pending.pop().most == most
    requests.wanted.clear()


def test_of_a_deep_stack_the_innermost_lines_are_kept():
    profile = requests.Profile(1, 1, VIEW, "GET", "/asking")

    def query(depth):
        if depth:
            query(depth - 1)
        else:
            profile.watched(lambda *_: None, "SELECT 1", None, False, {})

    query(2 * requests.FRAMES)
    (lines,) = [one.lines for one in profile.queries]
    assert len(lines) == requests.FRAMES
    assert lines[0][0] is query.__code__
