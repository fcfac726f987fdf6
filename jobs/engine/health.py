"""Whether a worker makes progress, for whoever restarts those that do not.

Alive is a worker whose engine has looked for jobs a short while ago: one whose event loop is stuck
does not, however much its process exists. To lose PostgreSQL is not to be dead, since the worker
keeps trying; it is not ready then.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Pulse:
    """When a worker last did something, and whether it has its database."""

    def __init__(self) -> None:
        """The worker starts now."""
        self._beat_at = monotonic()
        self.is_ready = False
        self.failures = 0

    def beat(self) -> None:
        """Jobs were looked for, or PostgreSQL was."""
        self._beat_at = monotonic()

    def failed(self) -> None:
        """Something that must go on has failed, and begins again."""
        self.failures += 1

    @property
    def silence(self) -> float:
        """Seconds since the last beat."""
        return monotonic() - self._beat_at


@asynccontextmanager
async def serve_health(pulse: Pulse, *, host: str, port: int, limit: float) -> AsyncIterator[None]:
    """Answer `/health/live` and `/health/ready` over HTTP; nothing with port 0.

    Alive is who was silent for no more than `limit` seconds. Raises OSError when the port is taken.
    """
    if not port:
        yield
        return

    def answer(*, good: bool) -> web.Response:
        document = {
            "status": "ok" if good else "unavailable",
            "silent_seconds": round(pulse.silence, 1),
            "failures": pulse.failures,
        }
        return web.json_response(document, status=200 if good else 503)

    async def live(_request: web.Request) -> web.Response:
        return answer(good=pulse.silence <= limit)

    async def ready(_request: web.Request) -> web.Response:
        return answer(good=pulse.is_ready and pulse.silence <= limit)

    app = web.Application()
    app.add_routes([web.get("/health/live", live), web.get("/health/ready", ready)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
