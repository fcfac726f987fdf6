"""A receiver of webhooks on this machine, and workers' deliverers that send to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from jobs.engine.database import create_pool
from jobs.fetching import AddressPolicy
from jobs.webhooks.delivery import Deliverer
from jobs.webhooks.sending import Sender

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Message:
    """What a receiver was sent."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self):
        return self.headers["webhook-id"]


async def ok(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


@dataclass
class Receiver:
    """Answers as `handler` says and keeps what came."""

    handler: Handler = ok
    port: int = 0
    messages: list[Message] = field(default_factory=list)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path="/hook", host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"

    @property
    def policy(self):
        return AddressPolicy.parse([f"127.0.0.1:{self.port}"])

    async def answer(self, request):
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.messages.append(Message(headers | {":path": request.path}, body))
        async with self._arrived:
            self._arrived.notify_all()
        return await self.handler(request)

    async def has_got(self, count):
        """Wait for so many messages in all."""
        async with asyncio.timeout(10), self._arrived:
            await self._arrived.wait_for(lambda: len(self.messages) >= count)


class Bench:
    """One receiver and one worker's deliveries to it; their loop runs only inside a call."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.run(self._start())

    async def _start(self):
        self.pool = await create_pool("asyncpg", min_size=1, max_size=2)
        self.receiver = Receiver()
        self._runner = web.ServerRunner(
            web.Server(self.receiver.answer, handler_cancellation=True), shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.receiver.port = self._runner.addresses[0][1]

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def sender(self, **options):
        options = {"policy": self.receiver.policy, "user_agent": "tests/1", **options}
        return Sender(**options)

    def deliver(self, turns=1, **options):
        """Send what is due and wait for the answers, so many times; returns all messages."""

        async def deliver():
            async with self.sender(**options) as sender:
                deliverer = Deliverer(self.pool, sender)
                for _ in range(turns):
                    await deliverer.turn()
                    await deliverer.drain(patience=10)

        self.run(deliver())
        return self.receiver.messages

    async def close_receiver(self):
        """Nobody listens there any more."""
        await self._runner.cleanup()

    def close(self):
        self.run(self.close_receiver())
        self.run(self.pool.close())
        self.loop.close()


def answering(status, **headers):
    async def handler(_request):
        return web.Response(status=status, headers=headers)

    return handler


def log_of(delivery):
    return list(delivery.log.values_list("number", "status_code", "error"))
