"""Real processes evaluate the rules and tell: a worker by webhook, a web server by mail."""

import asyncio
import json

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from cachelayer.tests.servers import until
from jobs.webhooks.signing import new_secret
from jobs.webhooks.tests.receivers import Bench
from performance.alerts import acting
from performance.alerts.board import Board
from performance.models import AlertNotice
from performance.tests.alarms import mailbox
from tests.support import Service

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def staff():
    return User.objects.create(username="ada")


def test_a_worker_evaluates_and_posts(bench, staff, database_url):
    channel = mailbox(kind="webhook", target=bench.receiver.url(), secret=new_secret())
    acting.send_test(channel=channel, user=staff, now=timezone.now())
    worker = Service(
        ["manage.py", "runworker"],
        DATABASE_URL=database_url,
        PROCESS_ROLE="worker",
        FETCH_ALLOWED_ADDRESSES=f"127.0.0.1:{bench.receiver.port}",
    )
    try:
        worker.wait_for("ready")
        bench.run(bench.receiver.has_got(1))
        until(lambda: Board.read().at is not None)
        until(lambda: AlertNotice.objects.get().told_at is not None)
    finally:
        assert worker.stop() == 0
    [message] = bench.receiver.messages
    assert json.loads(message.body)["data"]["rule"] == "test"


async def mail_server():
    """A mail server that takes everything: itself, its port, and the mail that it will get."""
    letter = asyncio.get_running_loop().create_future()

    async def talk(reader, writer):
        writer.write(b"220 mail\r\n")
        while line := await reader.readline():
            verb = line.split()[0].upper()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                letter.set_result(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 fine\r\n")
            if verb == b"QUIT":
                break
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1], letter


async def arrival(letter):
    async with asyncio.timeout(30):
        return await letter


async def close(server):
    server.close()
    await server.wait_closed()


def test_a_web_server_mails_when_there_is_no_worker(staff, start_web):
    acting.send_test(channel=mailbox(), user=staff, now=timezone.now())
    with asyncio.Runner() as runner:
        server, port, letter = runner.run(mail_server())
        environment = {
            "EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(port), "EMAIL_SECURITY": "none",
            "EMAIL_FROM": "alerts@scraper.example",
        }  # fmt: skip
        with start_web(**environment):
            text = runner.run(arrival(letter))
        runner.run(close(server))
    assert b"From: alerts@scraper.example" in text
    assert b"This is a test of this channel, by ada." in text
