"""Who keeps a connection is found with the line that took it; what nobody has goes back."""

import threading
from contextlib import contextmanager
from contextvars import copy_context

import pytest
import requests
from django.db import transaction

from cachelayer.layer import cache_layer
from cachelayer.tests.servers import until
from performance.cards.leaks import LeaksCard
from performance.cards.shapes import Level
from performance.entry import Name
from performance.observing import stream
from performance.recorders import leaks
from performance.recorders.leaks import FORCED, NAME, checkouts, ended
from performance.recorders.pools import WAIT
from performance.recording.process import buffer
from performance.recording.rescue import failures, unobserved
from performance.recording.stream import Stream
from performance.storage.digest import Digest
from performance.storage.reading import Scope, series, total, values
from performance.tests.pooled import ALIAS, ask, begin, mine, pooled, request
from performance.tests.pooled import NAME as POOL

pytestmark = pytest.mark.django_db

HERE = "performance/tests/test_leaks.py"


@pytest.fixture(autouse=True)
def _nothing_is_held():
    checkouts.forget()


@pytest.fixture
def pool():
    buffer.take("before")
    with pooled() as wrapper:
        yield wrapper.pool


@pytest.fixture
def kept():
    """Where what was taken is kept."""
    return []


def held():
    """What is out of the pools, however short."""
    return checkouts.look(0)


def idle(pool):
    return pool.get_stats()["pool_available"]


@contextmanager
def in_thread(work):
    """Run `work` in a thread that then waits until the context ends."""
    done, leave, failed = threading.Event(), threading.Event(), []

    def run():
        try:
            work()
        except BaseException as error:
            failed.append(error)
        done.set()
        leave.wait()

    thread = threading.Thread(target=run)
    thread.start()
    done.wait()
    try:
        yield
    finally:
        leave.set()
        thread.join()
    assert not failed


def take_and_keep(pool, kept):
    kept.append(pool.getconn())


def test_a_checkout_that_cannot_be_noted_is_one_all_the_same(pool, monkeypatch):
    before = failures[NAME]
    monkeypatch.setattr(leaks, "DjangoCheckout", None)
    assert ask("SELECT 7") == 7
    assert failures[NAME] == before + 1
    assert held() == []


def test_what_came_back_is_forgotten(pool):
    request(ask)
    assert held() == []
    assert idle(pool) == 1


def test_what_a_request_holds_that_still_runs_is_no_leak(pool):
    def slow():
        ask()
        return held()

    (found,) = request(slow)
    assert found["state"] == "held by a slow request"
    assert found["view"] == "GET /api/v1/jobs"
    assert Name(NAME, found["where"]) not in buffer.take("me").tallies


def test_what_outlives_its_request_is_a_leak_told_with_the_line_that_took_it(pool, kept):
    request(lambda: take_and_keep(pool, kept))
    (found,) = held()
    assert found["state"] == "leaked"
    assert found["where"] == f"{HERE}:take_and_keep"
    assert found["view"] == "GET /api/v1/jobs"
    line = take_and_keep.__code__.co_firstlineno + 1
    assert f"{HERE}:{line} take_and_keep" in found["stack"]
    pool.putconn(kept.pop())
    assert held() == []


def test_a_leak_is_recorded_described_and_logged_once(pool, kept, caplog):

    def only_here():
        kept.append(pool.getconn())

    request(only_here)
    held()
    (found,) = held()
    message = buffer.take("me")
    assert message.tallies[Name(NAME, found["where"])].count == 1
    subjects = [one.document for one in message.subjects if one.key == found["where"]]
    assert [one["pool"] for one in subjects] == [POOL]
    samples = [one.document for one in message.samples if one.key == found["where"]]
    assert [one["stack"] for one in samples] == [found["stack"]]
    assert len([one for one in caplog.messages if "only_here" in one]) == 1
    pool.putconn(kept.pop())


def test_a_request_that_nobody_has_ended_is_over_when_the_next_begins(pool, kept):
    begin(lambda: take_and_keep(pool, kept))
    begin(lambda: None)
    assert [one["state"] for one in held()] == ["leaked"]
    pool.putconn(kept.pop())
    ended()


def test_nothing_is_a_leak_before_its_time(pool, kept):
    request(lambda: take_and_keep(pool, kept))
    assert checkouts.look(leak_after=30) == []
    pool.putconn(kept.pop())


def test_what_a_request_took_from_the_pool_and_lost_goes_back_at_its_end(pool):
    request(lambda: pool.getconn() and None)
    assert held() == []
    assert idle(pool) == 1
    assert buffer.take("me").tallies[Name(FORCED, POOL)].count == 1


def test_a_transaction_that_a_request_left_open_is_rolled_back_at_its_end(pool, caplog):
    def forget():
        mine()
        transaction.atomic(using=ALIAS).__enter__()
        ask("SELECT set_config('test.left', 'open', false)")

    request(forget)
    assert idle(pool) == 1
    assert "GET /api/v1/jobs left a transaction open: it was rolled back" in caplog.messages
    assert request(lambda: ask("SELECT current_setting('test.left', true)")) != "open"


def test_what_a_dead_thread_has_not_given_back_goes_back(pool):
    with in_thread(ask):
        assert idle(pool) == 0
    assert held() == []
    assert idle(pool) == 1
    assert ask() == 1


def test_what_a_request_took_whose_thread_died_before_its_end_goes_back(pool):
    with in_thread(lambda: begin(ask)):
        assert idle(pool) == 0
    assert held() == []
    assert idle(pool) == 1


def test_what_goes_back_by_force_is_not_taken_from_whoever_has_it_next(pool, kept):
    with in_thread(ask):
        (checkout,) = checkouts.held.values()
    checkouts.force(checkout)
    take_and_keep(pool, kept)
    # Another thread has found it to be abandoned at the same time.
    checkouts.force(checkout)
    assert idle(pool) == 0
    assert kept[0].execute("SELECT 7").fetchone() == (7,)
    pool.putconn(kept.pop())


def test_nobody_waits_for_what_a_dead_thread_has(pool):
    with in_thread(ask):
        pass
    assert ask() == 1
    assert pool.get_stats()["requests_num"] == 2


def test_nothing_is_taken_away_from_a_thread_that_lives(pool):
    again = []

    def work():
        ask()
        # Found to be a leak, and still its own.
        again.extend(held())
        assert ask("SELECT 7") == 7

    with in_thread(work):
        assert [one["state"] for one in again] == ["leaked"]
        assert [one["view"] for one in again] == ["(no request)"]
        assert idle(pool) == 0


def test_nothing_is_taken_away_that_was_handed_on(pool, kept):
    """Whoever took it is dead, but somebody has it."""
    with in_thread(lambda: take_and_keep(pool, kept)):
        pass
    held()
    assert idle(pool) == 0
    assert kept[0].execute("SELECT 7").fetchone() == (7,)
    pool.putconn(kept.pop())


def test_nothing_is_taken_away_that_threads_share(pool):
    shared = []

    def share():
        ask()
        shared.append(mine())
        shared[0].inc_thread_sharing()

    with in_thread(share):
        pass
    held()
    assert idle(pool) == 0
    with shared[0].cursor() as cursor:
        cursor.execute("SELECT 7")
    shared[0].close()
    assert idle(pool) == 1


def test_what_the_console_takes_itself_is_not_looked_at(pool):
    with unobserved():
        connection = pool.getconn()
    assert held() == []
    pool.putconn(connection)


def test_the_card_names_the_line_that_leaks(pool, kept):
    request(lambda: take_and_keep(pool, kept))
    document = {"role": "web", "pools": [], "held": held()}
    buffer.publish("pools", document)
    pool.putconn(kept.pop())
    content = told(buffer.take("web/1"))
    assert content.health.level == Level.RED
    (row,) = content.tables[0].rows
    assert row.cells["where"] == f"{HERE}:take_and_keep"
    assert "take_and_keep" in row.cells["stack"]
    (place,) = content.tables[1].rows
    assert (place.cells["where"], place.cells["count"]) == (f"{HERE}:take_and_keep", 1)


def told(message):
    """What the card shows once that message is digested."""
    remote = cache_layer().remote
    remote.call(("UNLINK", "test:performance"))
    stream = Stream(remote, "test")
    stream.append(message)
    Digest(stream).run()
    return LeaksCard().content(Scope())


@pytest.fixture
def leaky(transactional_db, start_web):
    """A web server whose views leak; it has 3 connections."""
    module = "performance.tests.leaky_site"
    with start_web(DJANGO_SETTINGS_MODULE=module, DB_POOL_SIZE="1", DB_MAX_OVERFLOW="2") as base:
        yield base


def reported(state):
    """What a process says to be in that state."""
    Digest(stream()).run()
    found = [one for document in values("pools").values() for one in document["held"]]
    return next((one for one in found if one["state"] == state), None)


def test_the_web_server_survives_views_that_give_nothing_back(leaky):
    with requests.Session() as client:
        for view in 3 * ("losing", "opening", "dying"):
            assert client.get(f"{leaky}/{view}", timeout=30).status_code == 200
            assert client.get(f"{leaky}/fine", timeout=30).status_code == 200


def test_the_web_server_tells_leaks_from_slow_requests(leaky):
    waiting = threading.Thread(target=requests.get, args=(f"{leaky}/slow",), kwargs={"timeout": 60})
    waiting.start()
    requests.get(f"{leaky}/leaking", timeout=30)
    try:
        leak = until(lambda: reported("leaked"), "the leak")
        slow = until(lambda: reported("held by a slow request"), "the slow request")
    finally:
        requests.get(f"{leaky}/release", timeout=30)
        waiting.join()
    assert leak["where"] == "performance/tests/leaky_site.py:ask"
    assert any("leaky_site.py" in line and line.endswith(" keep") for line in leak["stack"])
    assert (slow["view"], slow["pool"]) == ("GET /slow", "web PostgreSQL default")
    assert total(series(WAIT, Scope(), slow["pool"])).count >= 2


def test_the_web_server_tells_what_a_view_keeps_of_the_pool_to_the_cache(leaky):
    requests.get(f"{leaky}/caching", timeout=30)
    leak = until(lambda: reported("leaked"), "the leak")
    assert leak["where"] == "performance/tests/leaky_site.py:caching"
    assert leak["view"] == "GET /caching"
    assert leak["pool"].startswith("web Valkey ")


def test_what_django_takes_for_a_request_needs_no_stack(pool):
    def slow():
        ask()
        return held()

    (found,) = request(slow)
    assert (found["where"], found["stack"], found["view"]) == ("Django", [], "GET /api/v1/jobs")


def test_what_django_takes_for_a_thread_of_a_request_is_told_with_its_line(pool):
    before = failures[NAME]

    def view():
        context = copy_context()
        with in_thread(lambda: context.run(ask)):
            return held()

    (found,) = request(view)
    assert found["where"].endswith(":ask")
    # Django lets nobody but the thread itself close it.
    assert failures[NAME] == before
