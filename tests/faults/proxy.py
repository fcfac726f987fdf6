"""A TCP proxy that does to connections what networks do, at moments that the suite chooses."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Literal, Self

from tests.faults.link import Fault, Link, Trap

if TYPE_CHECKING:
    from collections.abc import Coroutine

HOST = "127.0.0.1"


class Proxy:
    """Listens on a loopback port and connects to `upstream`: a socket's path, or host and port.

    `framed` is for PostgreSQL, whose messages it reads; anything else is passed on as bytes.
    A context manager with a thread and an event loop of its own; its methods are for other threads.
    """

    def __init__(self, upstream: str | tuple[str, int], *, framed: bool = True) -> None:
        self.upstream = upstream
        self.framed = framed
        self.delay = 0.0
        """Seconds by which every answer is late."""
        self.unheard = ""
        """The channel whose notifications are lost."""
        self.traps: list[Trap] = []
        self.port = 0
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stall(self) -> None:
        """Let nothing through, in either direction, until `flow`."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self, *, keep: Trap | None = None) -> None:
        """End delays and stalls and release what traps hold; only the trap `keep` is left."""
        self.delay, self.unheard = 0.0, ""
        self._loop.call_soon_threadsafe(self._release, keep)

    def drop(self, trap: Trap) -> None:
        """Lose what a trap holds."""
        trap.lose = True
        self._loop.call_soon_threadsafe(trap.released.set)

    def trap(
        self, sql: str, at: Literal["request", "reply"], *, lose: bool = False, after: str = ""
    ) -> Trap:
        """Set a trap for one statement."""
        trap = Trap(sql.encode(), at, lose, after.encode())
        self.traps.append(trap)
        return trap

    def break_links(self, fault: Fault) -> int:
        """Break every connection: a reset at once, the others at its next answer."""
        number: int = self._call(self._break(fault))
        return number

    async def pass_on(self, message: bytes, writer: asyncio.StreamWriter) -> None:
        """Send a message, but not before a stall ends."""
        await self._flowing.wait()
        writer.write(message)
        await writer.drain()

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    def _release(self, keep: Trap | None) -> None:
        self._flowing.set()
        for trap in self.traps:
            if trap is not keep:
                trap.released.set()
        self.traps = [trap for trap in self.traps if trap is keep]

    async def _listen(self) -> int:
        self._flowing.set()
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        for link in list(self._links):
            link.reset()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _break(self, fault: Fault) -> int:
        for link in self._links:
            link.fault = fault
            if fault == "reset":
                link.reset()
        return len(self._links)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            server = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = Link(self, (reader, writer), server)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.upstream, str):
            return await asyncio.open_unix_connection(self.upstream)
        return await asyncio.open_connection(*self.upstream)
