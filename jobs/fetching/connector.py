"""A pooled connector that opens no socket to an address its policy denies.

Two checks, because neither sees everything. The resolver sees all answers of a name, so that one
bad answer denies the whole host. The socket factory sees the address really connected to,
literals included, which never reach a resolver.
"""

from __future__ import annotations

import errno
import socket
import ssl
from functools import cache
from typing import TYPE_CHECKING

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from jobs.errors import BlockedTarget
from jobs.fetching.phases import enter

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType
    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from jobs.fetching.guard import AddressPolicy


def guarded_connector(
    policy: AddressPolicy, resolver: AbstractResolver, *, limit: int
) -> TCPConnector:
    """Return a connector for one policy: its pooled connections must not serve another.

    `limit` counts open connections, 0 meaning no limit. A denial arrives as an
    aiohttp.ClientConnectorError that has a BlockedTarget among its causes. The caller closes
    `resolver`.
    """

    def open_socket(addr_info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = addr_info
        _check(policy, address[0], address[1])
        enter("connect")
        return socket.socket(family, kind, protocol)

    return _TimedConnector(
        limit=limit,
        resolver=_CheckedResolver(policy, resolver),
        socket_factory=open_socket,
        ssl=tls_context(),
    )


@cache  # reading the system's certificates takes longer than many a fetch
def tls_context() -> ssl.SSLContext:
    """What aiohttp would use, the system's certificates and host names checked, but timed."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(("http/1.1",))
    context.sslobject_class = _TimedTLS
    return context


class _TimedTLS(ssl.SSLObject):
    """Its handshake, many small steps, is the only sign that TCP is done and TLS begins."""

    def do_handshake(self) -> None:
        enter("tls")
        super().do_handshake()


class _TimedConnector(TCPConnector):
    """Says when a connection, pooled or new, is handed out."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 aiohttp's
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        enter("first_byte")
        return connection


class _CheckedResolver(AbstractResolver):
    """Gives out the answers of another resolver, or none of them if one is denied."""

    def __init__(self, policy: AddressPolicy, inner: AbstractResolver) -> None:
        self._policy = policy
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        enter("dns")
        answers = await self._inner.resolve(host, port, family)
        enter("wait")
        if not answers:
            raise OSError(None, "the name has no address")
        for answer in answers:
            _check(self._policy, answer["host"], answer["port"])
        return answers

    async def close(self) -> None:
        await self._inner.close()


def _check(policy: AddressPolicy, ip: str, port: int) -> None:
    try:
        policy.check(ip, port)
    except BlockedTarget as blocked:
        # The only exception both hooks may raise: when a host has several addresses, the
        # connection race drops every other kind and then fails with an IndexError.
        raise OSError(errno.EACCES, "denied by the address policy") from blocked
