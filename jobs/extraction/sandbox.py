"""Reads suspicious documents in child processes, which may die of them."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgpack
from orjson import Fragment

from jobs import errors
from jobs.errors import ParserFailed, ScrapeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from jobs.extraction.reading import Document

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
# Of an interpreter and its imports, which takes 0.2 s where there is a core for it.
START_TIMEOUT = 30.0
LARGEST_ANSWER = 256 * 1024 * 1024
READ_AHEAD = 1024 * 1024


class _ChildDied(Exception):
    """The child ended, or wrote what it never would by itself."""


@dataclass(slots=True)
class _Child:
    process: asyncio.subprocess.Process
    documents: int = 0

    async def ask(self, request: bytes) -> dict[str, Any]:
        """Send a document and return the answer; raises _ChildDied."""
        stdin = self.process.stdin
        assert stdin is not None
        try:
            stdin.writelines((len(request).to_bytes(4), request))
            await stdin.drain()
            answer = await self.receive()
        except OSError as error:
            raise _ChildDied from error
        if not isinstance(answer, dict):
            raise _ChildDied
        self.documents += 1
        return answer

    async def receive(self) -> Any:
        """The next message; raises _ChildDied."""
        stdout = self.process.stdout
        assert stdout is not None
        try:
            size = int.from_bytes(await stdout.readexactly(4))
            if size > LARGEST_ANSWER:
                raise _ChildDied
            return msgpack.unpackb(await stdout.readexactly(size))
        except (EOFError, OSError, ValueError) as error:
            raise _ChildDied from error

    async def end(self) -> None:
        """Kill it: it holds nothing that would be lost."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    @asynccontextmanager
    async def or_end(self) -> AsyncIterator[None]:
        """End it when the block fails or is cancelled: it may be in the middle of anything."""
        try:
            yield
        except BaseException:
            await self.end()
            raise

    def resident(self) -> int:
        """Bytes of memory in use, 0 where the system does not tell."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        except OSError:
            return 0
        return int(pages) * resource.getpagesize()


class Sandbox:
    """A few child processes, started when needed; an async context manager.

    They share neither memory nor environment nor sockets with the worker, and end with it.
    """

    def __init__(
        self,
        *,
        children: int = 2,
        deadline: float = 10.0,
        memory: int = 512 * 1024 * 1024,
        documents: int = 200,
        resident: int = 256 * 1024 * 1024,
    ) -> None:
        """`deadline` is in seconds a document; `memory` bounds a child's address space in bytes.

        A child is replaced after `documents`, or when it holds more than `resident` bytes.
        """
        self._deadline = deadline
        self._memory = memory
        self._documents = documents
        self._resident = resident
        self._turns = asyncio.Semaphore(children)
        self._idle: list[_Child] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the children. One that is reading ends with its document."""
        self._closed = True
        while self._idle:
            await self._idle.pop().end()

    async def read(
        self,
        document: Document,
        timeout: float,  # noqa: ASYNC109 a job's own
    ) -> dict[str, Any]:
        """What `read_document` returns or raises, with all but strings as JSON fragments.

        `timeout` is in seconds, for the wait for a child and for the reading each. Raises
        ParserFailed for a document that is too much for a child, and ScrapeError when there is
        no child to be had.
        """
        seconds = min(self._deadline, timeout)
        request = msgpack.packb((seconds, *document))
        try:
            async with asyncio.timeout(timeout):
                await self._turns.acquire()
        except TimeoutError:
            raise ScrapeError("No parser was free in time. Try again later.") from None
        try:
            answer = await self._answer(request, seconds)
        finally:
            self._turns.release()
        if "error" in answer:
            raise _error(*answer["error"])
        return {
            name: Fragment(value) if isinstance(value, bytes) else value
            for name, value in answer["formats"].items()
        }

    async def _answer(self, request: bytes, seconds: float) -> dict[str, Any]:
        while True:
            child = self._take() or await self._start()
            is_fresh = child.documents == 0
            try:
                async with child.or_end(), asyncio.timeout(seconds):
                    answer = await child.ask(request)
            except TimeoutError:
                raise ParserFailed from None
            except _ChildDied:
                logger.warning("a parser ended with %s", child.process.returncode)
                # Earlier documents may have spoilt a used child, or it died idle.
                if is_fresh:
                    raise ParserFailed from None
            else:
                await self._give_back(child)
                return answer

    def _take(self) -> _Child | None:
        while self._idle:
            child = self._idle.pop()
            if child.process.returncode is None:
                return child
        return None

    async def _give_back(self, child: _Child) -> None:
        worn = child.documents >= self._documents or child.resident() > self._resident
        if worn or self._closed:
            await child.end()
        else:
            self._idle.append(child)

    async def _start(self) -> _Child:
        try:
            child = _Child(await self._spawn())
            async with child.or_end(), asyncio.timeout(START_TIMEOUT):
                await child.receive()
        except (_ChildDied, TimeoutError, OSError) as error:
            logger.exception("a parser could not be started")
            raise ScrapeError("No parser could be started. Try again later.") from error
        return child

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "jobs.extraction.sandboxed", str(os.getpid()), str(self._memory)),
            cwd=ROOT,
            env={},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=READ_AHEAD,
        )


_ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ScrapeError)
}


def _error(name: str, message: str) -> ScrapeError:
    return _ERRORS.get(name, ScrapeError)(message)
