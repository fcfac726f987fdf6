"""What a worker answers about itself."""

import asyncio
import socket

import aiohttp
import pytest

from jobs.engine.health import Pulse, serve_health


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


@pytest.fixture
def unused_tcp_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
