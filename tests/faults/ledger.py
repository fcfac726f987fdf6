"""Ledgers: files that only grow, one JSON object a line, which outlive whoever wrote them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Writer:
    """Appends to a ledger. Each line is one write, so that a kill never leaves half of one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **entry: Any) -> None:
        """Append an entry."""
        os.write(self._file, json.dumps(entry).encode() + b"\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All entries so far."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


async def serve(name: str, routes: Callable[[], list[web.RouteDef]]) -> None:
    """Serve until SIGTERM on a free loopback port, which the first line of output tells."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    application = web.Application()
    application.add_routes(routes())
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    host, port = runner.addresses[0]
    sys.stdout.write(f"{name} ready on http://{host}:{port}\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()
