"""One connection through the proxy, and the traps that catch a statement on its way.

It speaks enough of PostgreSQL's protocol (version 3, "Message Formats" in its manual) to know which
statement a request runs and when its answer is complete.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.proxy import Proxy

BLOCK = 65_536
READY_FOR_QUERY = b"Z"
NOTIFICATION = b"A"
REMEMBERED = 32
"""Statements of a connection's last transaction; one that commits each statement begins none."""
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a reset instead of an orderly end
WANTS_ENCRYPTION = (80877103, 80877104)  # SSLRequest and GSSENCRequest
GONE = (OSError, EOFError)

Fault = Literal["reset", "half_close", "truncate", "garbage"]


@dataclass
class Trap:
    """Catches the first statement whose SQL contains `sql`, run after one that contains `after`.

    `after` is in the same transaction; empty, it is any statement at any time.
    `request`: before PostgreSQL has it. `reply`: PostgreSQL has run it and the client does not
    know. What is caught is held until the proxy flows again, or lost with its connection when
    `lose` is set.
    """

    sql: bytes
    at: Literal["request", "reply"]
    lose: bool = False
    after: bytes = b""
    caught: threading.Event = field(default_factory=threading.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    taken: bool = False

    async def lets_pass(self) -> bool:
        """Whether what was caught goes on, when that is known."""
        self.caught.set()
        if not self.lose:
            await self.released.wait()
        return not self.lose


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: Any, server: Any) -> None:
        self.proxy = proxy
        self.client_reader, self.client_writer = client
        self.server_reader, self.server_writer = server
        self.statements: dict[bytes, bytes] = {}
        self.transaction: deque[bytes] = deque(maxlen=REMEMBERED)
        self.trap: Trap | None = None
        self.fault: Fault | None = None

    async def run(self) -> None:
        """Pass on what arrives until either side ends or a fault ends it."""
        pumps = [asyncio.create_task(pump) for pump in (self._up(), self._down())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self.client_writer.close()
            self.server_writer.close()

    def reset(self) -> None:
        """End both connections at once."""
        for writer in (self.client_writer, self.server_writer):
            with suppress(OSError):
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            writer.transport.abort()

    async def _up(self) -> None:
        """Requests."""
        with suppress(*GONE):
            if self.proxy.framed:
                await self._greet()
            async for message in messages(self.client_reader, framed=self.proxy.framed):
                if self.proxy.framed and not await self._goes_on(message):
                    self.reset()
                    return
                await self.proxy.pass_on(message, self.server_writer)

    async def _down(self) -> None:
        """Answers. One that is caught is kept whole, so that its client knows nothing of it."""
        held = b""
        with suppress(*GONE):
            async for message in messages(self.server_reader, framed=self.proxy.framed):
                if self.proxy.unheard and _notifies(message, self.proxy.unheard):
                    continue
                answer, is_last = held + message, message[:1] == READY_FOR_QUERY
                if self.trap is not None:
                    held = answer
                    if not is_last:
                        continue
                    trap, self.trap, held = self.trap, None, b""
                    if not await trap.lets_pass():
                        self.reset()
                        return
                if self.proxy.delay and (is_last or not self.proxy.framed):
                    await asyncio.sleep(self.proxy.delay)
                if self.fault is not None:
                    await self._break(answer)
                    return
                await self.proxy.pass_on(answer, self.client_writer)

    async def _greet(self) -> None:
        """The start of a connection, whose messages carry no type. Encryption is refused."""
        while True:
            length = await self.client_reader.readexactly(4)
            body = await self.client_reader.readexactly(int.from_bytes(length, "big") - 4)
            if int.from_bytes(body[:4], "big") not in WANTS_ENCRYPTION:
                await self.proxy.pass_on(length + body, self.server_writer)
                return
            self.client_writer.write(b"N")

    async def _goes_on(self, message: bytes) -> bool:
        """Whether no trap keeps a request for ever; it may be caught by one after the other."""
        while trap := self._trap_for(message):
            if trap.at == "reply":
                self.trap = trap
                break
            if not await trap.lets_pass():
                return False
        return True

    def _trap_for(self, message: bytes) -> Trap | None:
        sql = self._statement(message)
        if sql is None:
            return None
        if sql.startswith(b"BEGIN"):
            self.transaction.clear()
        self.transaction.append(sql)
        for trap in self.proxy.traps:
            if not trap.taken and trap.sql in sql and self._has_run(trap.after):
                trap.taken = True
                return trap
        return None

    def _has_run(self, sql: bytes) -> bool:
        return any(sql in statement for statement in self.transaction)

    def _statement(self, message: bytes) -> bytes | None:
        """The SQL that a message runs: a Query's, or what a Bind's statement was parsed from."""
        kind, body = message[:1], message[5:]
        if kind == b"P":
            name, _, rest = body.partition(b"\0")
            self.statements[name] = rest.partition(b"\0")[0]
        elif kind == b"B":
            return self.statements.get(body.split(b"\0", 2)[1])
        elif kind == b"Q":
            return body
        return None

    async def _break(self, message: bytes) -> None:
        if self.fault == "truncate":
            self.client_writer.write(message[: len(message) // 2])
            await self.client_writer.drain()
        elif self.fault == "garbage":
            self.client_writer.write(os.urandom(len(message)))
            await self.client_writer.drain()
        elif self.fault == "half_close":
            self.client_writer.write_eof()
            # The client's side stays open for it to send into the void.
            await asyncio.sleep(1)


def _notifies(message: bytes, channel: str) -> bool:
    """Whether it is a notification on that channel: a pid comes before the name."""
    return message[:1] == NOTIFICATION and message[9:].startswith(channel.encode() + b"\0")


async def messages(reader: asyncio.StreamReader, *, framed: bool) -> AsyncIterator[bytes]:
    """Whole messages, or blocks of whatever arrives; ends with the connection."""
    while not framed:
        block = await reader.read(BLOCK)
        if not block:
            return
        yield block
    while True:
        # The refusal of encryption has no length, but `_greet` keeps that from the server.
        head = await reader.readexactly(5)
        yield head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
