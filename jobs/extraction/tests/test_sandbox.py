"""Documents that are read in child processes, and what these may do to the worker: nothing."""

import asyncio
import os
import signal
import subprocess
import sys

import orjson
import psutil
import pytest

from jobs.errors import (
    EmptyPage,
    ExtractionEmpty,
    ParserFailed,
    ScrapeError,
    TooLarge,
    UnreadableDocument,
)
from jobs.extraction.reading import Document, read_document
from jobs.extraction.sandbox import ROOT, Sandbox

EXTRACT = '{"baseSelector": "li", "fields": [{"name": "t", "type": "text", "default": 7}]}'
EVERYTHING = ("data", "html", "text", "links", "metadata")
PAGE = """<html lang=ru><title>Список</title><meta property="og:image" content="x.png">
<ul><li>one <a href="/1" rel=next>1</a><li>два<li>&#0;\N{GRINNING FACE}</ul>"""
# Takes minutes and little memory: every tag looks at all the open ones.
SLOW = b"<div>" * 200_000
# Takes gigabytes if it may: each paragraph opens all formatting elements again.
HUGE = b"<p>" + b"".join(b"<b %d>" % n for n in range(4_000)) + b"<p>x" * 100_000


def new_document(body=b"<p>hello", content_type="text/html", extract=None, formats=("text",)):
    if isinstance(body, str):
        body = body.encode()
    return Document(body, content_type, None, "http://x.example/", extract, formats)


def pids():
    return {child.pid for child in psutil.Process().children() if is_parser(child)}


def is_parser(process):
    try:
        return "jobs.extraction.sandboxed" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
async def sandbox():
    async with Sandbox(children=1) as sandbox:
        yield sandbox
    assert not pids()


@pytest.mark.parametrize(
    "document",
    [
        new_document(PAGE, extract=EXTRACT, formats=EVERYTHING),
        new_document(PAGE.encode("utf-16"), formats=("text", "html")),
        new_document("[1, 2]", content_type="application/json", formats=("html",)),
        new_document(b"<p>x</p>" * 400_000, formats=("html",)),
    ],
)
async def test_the_result_is_the_same_as_in_the_worker(sandbox, document):
    found = await sandbox.read(document, 30)
    assert orjson.loads(orjson.dumps(found)) == read_document(document)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (new_document(b"GIF89a", content_type="image/gif"), UnreadableDocument),
        (new_document(b" "), EmptyPage),
        (new_document("<p>x", extract=EXTRACT, formats=("data",)), ExtractionEmpty),
        (
            new_document(
                b"<li>" + b"<div>" * 500 + b"x" * 60_000,
                extract=EXTRACT.replace('"li"', '"div"'),
                formats=("data",),
            ),
            TooLarge,
        ),
    ],
)
async def test_what_is_wrong_with_a_document_is_told_as_in_the_worker(sandbox, document, error):
    with pytest.raises(error) as inline:
        read_document(document)
    with pytest.raises(error) as told:
        await sandbox.read(document, 30)
    assert told.value.message == inline.value.message
    assert len(pids()) == 1


async def test_a_bug_in_the_reading_is_no_fault_of_the_document(sandbox):
    with pytest.raises(ScrapeError) as told:
        await sandbox.read(new_document(extract="no JSON"), 30)
    assert type(told.value) is ScrapeError
    assert not told.value.permanent


async def test_children_start_when_needed_and_are_kept(sandbox):
    assert not pids()
    await sandbox.read(new_document(), 30)
    first = pids()
    await sandbox.read(new_document(), 30)
    assert len(first) == 1
    assert pids() == first


async def test_a_document_that_takes_too_long_is_given_up_and_its_child_is_gone():
    async with Sandbox(deadline=1) as sandbox, asyncio.timeout(60):
        await sandbox.read(new_document(), 30)
        (child,) = pids()
        with pytest.raises(ParserFailed, match="limits"):
            await sandbox.read(new_document(SLOW), 600)
        assert not psutil.pid_exists(child)
        assert await sandbox.read(new_document(), 30) == {"text": "hello"}


async def test_a_document_gets_no_longer_than_its_job():
    async with Sandbox(deadline=600) as sandbox, asyncio.timeout(60):
        await sandbox.read(new_document(), 30)
        with pytest.raises(ParserFailed):
            await sandbox.read(new_document(SLOW), 0.3)


async def test_a_memory_bomb_fails_its_own_job_only():
    async with Sandbox(children=2, memory=256 * 1024 * 1024) as sandbox:
        bomb = asyncio.create_task(sandbox.read(new_document(HUGE), 30))
        for _ in range(5):
            assert await sandbox.read(new_document(), 30) == {"text": "hello"}
        with pytest.raises((ParserFailed, UnreadableDocument)) as told:
            await bomb
        assert told.value.permanent
        assert await sandbox.read(new_document(), 30) == {"text": "hello"}


async def test_neighbours_go_on_while_a_document_is_slow():
    async with Sandbox(children=2) as sandbox:
        slow = asyncio.create_task(sandbox.read(new_document(SLOW), 30))
        for _ in range(20):
            assert await sandbox.read(new_document(), 30) == {"text": "hello"}
        assert not slow.done()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow


async def test_a_document_that_kills_its_child_has_failed():
    async with Sandbox(children=1, memory=128 * 1024 * 1024) as sandbox:
        with pytest.raises(ParserFailed):
            await sandbox.read(new_document(b"x" * 64 * 1024 * 1024), 30)
        assert not pids()
        assert await sandbox.read(new_document(), 30) == {"text": "hello"}


async def test_signals_to_the_whole_group_are_for_the_worker_to_act_on(sandbox):
    await sandbox.read(new_document(), 30)
    before = pids()
    for signum in (signal.SIGINT, signal.SIGTERM):
        os.kill(next(iter(before)), signum)
    await sandbox.read(new_document(), 30)
    assert pids() == before


async def test_a_cancelled_reading_takes_its_child_with_it(sandbox):
    await sandbox.read(new_document(), 30)
    reading = asyncio.create_task(sandbox.read(new_document(SLOW), 30))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not pids()


async def test_a_document_does_not_pay_for_the_ones_before_it(sandbox):
    await sandbox.read(new_document(), 30)
    (child,) = pids()
    os.kill(child, signal.SIGSTOP)
    reading = asyncio.create_task(sandbox.read(new_document(), 30))
    await asyncio.sleep(0)
    os.kill(child, signal.SIGKILL)
    assert await reading == {"text": "hello"}
    assert pids() != {child}


async def test_a_child_is_replaced_after_so_many_documents():
    async with Sandbox(children=1, documents=2) as sandbox:
        seen = []
        for _ in range(3):
            await sandbox.read(new_document(), 30)
            seen.append(pids())
        assert seen[0]
        assert seen[1] == set()
        assert seen[2] not in (seen[0], set())


async def test_a_child_that_has_grown_is_replaced():
    async with Sandbox(children=1, resident=1) as sandbox:
        await sandbox.read(new_document(), 30)
        assert not pids()


async def test_nobody_waits_for_a_child_longer_than_the_job_may_take(sandbox):
    slow = asyncio.create_task(sandbox.read(new_document(SLOW), 30))
    await asyncio.sleep(0)
    with pytest.raises(ScrapeError, match="No parser was free") as told:
        await sandbox.read(new_document(), 0.05)
    assert not told.value.permanent
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_a_child_that_cannot_start_is_no_fault_of_the_document():
    async with Sandbox(memory=1) as sandbox:
        with pytest.raises(ScrapeError, match="No parser could be started") as told:
            await sandbox.read(new_document(), 30)
    assert not told.value.permanent
    assert not pids()


async def test_a_child_has_neither_the_environment_nor_the_files_of_the_worker(
    sandbox, monkeypatch
):
    monkeypatch.setenv("SECRET_KEY", "do-not-pass-on")
    await sandbox.read(new_document(), 30)
    child = psutil.Process(*pids())
    assert "do-not-pass-on" not in child.environ().values()
    assert not child.net_connections("inet")
    assert child.num_fds() == 3


def test_a_child_knows_no_django():
    code = "import sys, jobs.extraction.sandboxed; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


WORKER = """
import asyncio, psutil
from jobs.extraction.tests.test_sandbox import SLOW, new_document, Sandbox

async def main():
    sandbox = Sandbox()
    await sandbox.read(new_document(), 30)
    print(psutil.Process().children()[0].pid, flush=True)
    await sandbox.read(new_document(SLOW), 30)

asyncio.run(main())
"""


def test_a_child_ends_when_its_worker_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout
        child = psutil.Process(int(worker.stdout.readline()))
        worker.kill()
        psutil.wait_procs([child], timeout=10)
    assert not child.is_running()
