"""What a worker answers about itself."""

import asyncio
import socket

import aiohttp
import pytest

from jobs.engine import database, keeping
from jobs.engine.database import DatabaseUnreachable, create_pool
from jobs.engine.health import Pulse, serve_health
from jobs.engine.keeping import keep


async def ask(pulse, port, *, limit):
    answers = {}
    async with (
        serve_health(pulse, host="127.0.0.1", port=port, limit=limit),
        aiohttp.ClientSession() as session,
    ):
        for path in ("live", "ready"):
            async with session.get(f"http://127.0.0.1:{port}/health/{path}") as response:
                answers[path] = response.status
    return answers


def test_a_worker_that_has_just_looked_for_jobs_is_alive_and_ready(unused_tcp_port):
    pulse = Pulse()
    pulse.is_ready = True
    assert asyncio.run(ask(pulse, unused_tcp_port, limit=30)) == {"live": 200, "ready": 200}


def test_a_worker_without_its_database_is_alive_but_not_ready(unused_tcp_port):
    assert asyncio.run(ask(Pulse(), unused_tcp_port, limit=30)) == {"live": 200, "ready": 503}


def test_a_worker_that_was_silent_for_too_long_is_neither(unused_tcp_port):
    pulse = Pulse()
    pulse.is_ready = True
    assert asyncio.run(ask(pulse, unused_tcp_port, limit=0)) == {"live": 503, "ready": 503}


def test_a_worker_that_tries_to_reach_its_database_shows_a_pulse(monkeypatch, settings):
    settings.DB_CONNECT_RETRY = 0
    nowhere = {"host": "/nowhere", "user": "nobody", "database": "none"}
    monkeypatch.setattr(database, "connect_arguments", lambda: nowhere)
    refusals = []
    with pytest.raises(DatabaseUnreachable):
        asyncio.run(
            create_pool("asyncpg", min_size=1, max_size=1, refused=lambda: refusals.append(1))
        )
    assert refusals


def test_work_that_fails_is_counted_and_logged_and_begins_again(monkeypatch, caplog):
    monkeypatch.setattr(keeping, "PAUSE", 0)
    pulse, lives = Pulse(), []

    async def work():
        lives.append(pulse.failures)
        if len(lives) == 3:
            raise asyncio.CancelledError
        raise ValueError("broken")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(keep("leases", work, failed=pulse.failed))
    assert lives == [0, 1, 2]
    assert caplog.text.count("leases: failed, begins again") == 2


@pytest.fixture
def unused_tcp_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
