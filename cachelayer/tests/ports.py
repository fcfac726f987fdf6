"""Ports for servers of tests."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack, suppress

HOST = "127.0.0.1"
# Those that somebody is about to listen on, or has.
_told: set[int] = set()


def free_ports(number: int) -> list[int]:
    """Loopback ports that nobody listens on, and that no connection is given before somebody does.

    Systems give connections ports from 32768 on (Linux) or 49152 on. None is told of twice, nor to
    another process of the same test run: each has its share of them.
    """
    shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < number:
            one, port = stack.enter_context(socket.socket()), random.randrange(10_000, 32_000)
            if port in _told or port % shares != share:
                continue
            with suppress(OSError):
                one.bind((HOST, port))
                found.append(port)
                _told.add(port)
    return found
