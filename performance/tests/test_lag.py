"""What holds up a hub or a loop is found by its line; what only pauses the process is not."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf

import pytest
import requests
import uvloop
from django.conf import settings

from cachelayer.tests.servers import until, until_async
from performance.cards.lag import LagCard
from performance.cards.shapes import Level
from performance.models import Kind, Subject
from performance.observing import stream
from performance.recorders.blocking import ABOUT, COLLECTION, OUTSIDE, BlockingFinder
from performance.recorders.garbage import Collections
from performance.recorders.lag import LagSampler
from performance.recording.heartbeat import Heartbeat, heartbeat
from performance.recording.process import buffer
from performance.storage.digest import Digest
from performance.storage.reading import Scope, series, total
from performance.tests.telling import cells, fact, forget, tell

HERE = "performance/tests/test_lag.py"
MOST_TRIES = 5


def compute(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def calls():
    """The blocking calls that this process has recorded since it was last asked."""
    message = buffer.take("")
    return {one.key: one.document for one in message.samples if one.type == Kind.BLOCKING_CALL}


@pytest.fixture(autouse=True)
def _nothing_recorded():
    forget()


async def a_beat():
    """The next comes."""
    due = heartbeat.due

    async def has_come():
        return heartbeat.due != due

    await until_async(has_come, 10)


def blame(work):
    """Whom a loop that is held up by `work` blames."""

    async def main():
        found = {}

        async def is_told():
            found.update(calls())
            return found

        sampler = LagSampler("worker")
        sampler.start()
        try:
            # For what a machine keeps from running nobody is to blame: then it is done again.
            for _ in range(MOST_TRIES):
                # A beat first, so that the next is due while it works.
                await a_beat()
                work()
                with suppress(TimeoutError):
                    await until_async(is_told, 2)
                    break
        finally:
            sampler.stop()
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_a_call_that_computes_is_found_with_its_stack():
    found = blame(lambda: compute(1))
    document = found[f"{HERE}:compute"]
    assert document["role"] == "worker"
    assert document["file"] == HERE
    assert document["milliseconds"] >= 300
    assert document["stack"][0].startswith(f"{HERE}:{document['line']} compute")
    assert document["later"]


def test_a_call_that_waits_without_the_loop_is_found():
    def unwise():
        time.sleep(1)

    assert list(blame(unwise)) == [f"{HERE}:{unwise.__qualname__}"]


def test_a_call_into_c_that_lets_no_thread_run_is_found():
    def slow_pattern():
        re.match(r"(a+)+$", "a" * 24 + "b")

    assert list(blame(slow_pattern)) == [f"{HERE}:{slow_pattern.__qualname__}"]


def test_what_holds_up_a_loop_without_a_line_of_python_is_said_in_words():
    document = blame(lambda: asyncio.get_running_loop().call_soon(time.sleep, 1))[OUTSIDE]
    assert document["stack"] == []
    assert "a C library did not come back" in document["about"]


def test_what_is_short_is_nobodys_fault():
    with pytest.raises(TimeoutError):
        asyncio.run(quick())


async def quick():
    async def is_told():
        compute(0.01)
        return calls()

    sampler = LagSampler("worker")
    sampler.start()
    try:
        await until_async(is_told, 0.5)
    finally:
        sampler.stop()


def test_a_collection_that_took_most_of_the_time_is_called_so():
    collections = Collections()
    finder = BlockingFinder(Heartbeat(), collections, "web", 0.1)
    collections.seconds += 0.12
    finder.came(due=10.0, now=10.2)
    assert list(calls()) == [COLLECTION]
    # What was collected for the last beat explains nothing of this one.
    finder.came(due=20.0, now=20.2)
    assert calls() == {}


def test_a_process_without_hub_or_loop_has_no_lag():
    sampler = LagSampler("command")
    sampler.start()
    sampler.sample()
    assert buffer.take("").values == {}
    assert heartbeat.due == inf


def test_the_present_state_tells_of_the_last_minute():
    async def main():
        sampler = LagSampler("worker")
        sampler.start()
        await a_beat()
        await a_beat()
        sampler.sample()
        sampler.stop()

    asyncio.run(main())
    document = buffer.take("").values["lag"]
    assert document["p50"] <= document["p99"] <= document["max"]
    assert document["tasks"] == 1


@pytest.fixture
def loop_process():
    process = subprocess.Popen(
        [sys.executable, "-m", "performance.tests.loop_process"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "PROCESS_ROLE": "command"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"

        standard_input, output = process.stdin, process.stdout

        def ask(line):
            standard_input.write(line + "\n")
            standard_input.flush()

        def told():
            ask("tell")
            return json.loads(output.readline())

        yield process, ask, told
        process.stdin.close()


def test_a_process_that_was_stopped_is_late_but_blames_nobody(loop_process):
    process, ask, told = loop_process
    process.send_signal(signal.SIGSTOP)
    # For as long as a blocking call would have to last.
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    answer = told()
    assert answer["late"] > 300
    assert answer["calls"] == []
    ask("block")
    assert told()["calls"] == ["performance/tests/loop_process.py:block"]


@pytest.mark.django_db
def test_the_card_says_what_to_do_when_nothing_beats():
    assert "worker" in LagCard().content(Scope()).empty


@pytest.mark.django_db
def test_the_lag_card_names_who_blocks():
    for late in (1.0, 400.0):
        buffer.record("lag", "web", late)
    buffer.record("blocking_call", "jobs/a.py:slow", 400.0)
    buffer.describe(
        "blocking_call",
        "jobs/a.py:slow",
        {"role": "web", "file": "jobs/a.py", "line": 3, "function": "slow", "stack": ["a", "b"]},
    )
    tell("web/1")
    content = LagCard().content(Scope())
    assert content.health
    assert content.health.level == Level.RED
    assert "jobs/a.py:slow" in content.health.reason
    assert content.tables[0].rows[0].cells["place"] == "jobs/a.py:3 slow"


@pytest.mark.django_db
def test_more_blocking_calls_than_are_shown_are_counted():
    buffer.record("lag", "web", 1.0)
    for number in range(30):
        buffer.record("blocking_call", f"x.py:{number}", 400.0)
    tell("web/1")
    content = LagCard().content(Scope())
    assert len(cells(content, "calls")) == 25
    assert fact(content, "Blocking calls").value == 30


@pytest.mark.django_db
def test_the_lag_card_says_what_to_do_when_no_line_is_to_blame():
    buffer.record("lag", "web", 1.0)
    # What was described is not described again by the same process.
    key = f"{OUTSIDE}, lag"
    buffer.record("blocking_call", key, 400.0)
    buffer.describe("blocking_call", key, {"role": "web", "file": "", "about": ABOUT[OUTSIDE]})
    tell("web/1")
    content = LagCard().content(Scope())
    assert content.health
    assert content.health.reason == "something outside Python, lag blocked for up to 400 ms"
    assert "how busy its cores are" in content.tables[0].rows[0].cells["stack"]


@pytest.mark.django_db(transaction=True)
def test_a_view_that_holds_up_gunicorns_hub_is_found_and_others_are_held_up(start_web):
    with (
        start_web(DJANGO_SETTINGS_MODULE="performance.tests.faulty_settings") as base,
        ThreadPoolExecutor() as pool,
    ):

        def get(path):
            return requests.get(f"{base}/{path}", timeout=30).text

        patient = pool.submit(get, "patient")
        until(lambda: get("waiting") == "1", "one waits")
        assert get("blocking?seconds=1") == get("release") == patient.result() == "done"
        digest = Digest(stream())
        key = "performance/tests/faulty_site.py:compute"
        subject = until(
            lambda: (
                digest.run(),
                Subject.objects.filter(type=Kind.BLOCKING_CALL, key=key).first(),
            )[1],
            "the blocking call is told",
        )
    assert subject.document["role"] == "web"
    assert any(
        "faulty_site.py" in line and "blocking" in line for line in subject.document["stack"]
    )
    digest.run()
    cpu = {
        view: total(series("request.cpu", Scope(), f"GET /{view}")).sum
        for view in ("blocking", "patient")
    }
    assert cpu["blocking"] >= 990
    assert cpu["patient"] < 100
    assert total(series("request.lag", Scope(), "GET /patient")).sum > 100
    assert total(series("request.lag", Scope(), "GET /blocking")).sum < 100
