"""`rediss://`: the same over TLS, to a server whose certificate is looked at."""

import asyncio
import ssl
import threading
from contextlib import suppress
from typing import Any

import pytest
import trustme
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as LostConnection

from cachelayer.conf import CacheSettings
from cachelayer.invalidation import invalidate
from cachelayer.layer import Layer
from cachelayer.pools import async_client, parse, sync
from cachelayer.tests.faulty import read
from cachelayer.tests.ports import HOST
from cachelayer.tests.servers import until

pytestmark = pytest.mark.xdist_group("valkey")

POOL: dict[str, Any] = {"socket_timeout": 2, "retries": 0}


class TLSProxy:
    """A server's TLS end, which the embedded Valkey has none of; it leads to a port without."""

    def __init__(self, port, certificate):
        self._target = port
        self._certificate = certificate
        self._loop = asyncio.new_event_loop()
        self._pipes = set()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        starting = asyncio.start_server(self._serve, HOST, 0, ssl=context)
        self._server = self._loop.run_until_complete(starting)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread.start()
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, *client):
        self._pipes.add(asyncio.current_task())
        server = await asyncio.open_connection(HOST, self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pipe(client[0], server[1]))
                both.create_task(self._pipe(server[0], client[1]))
        finally:
            self._pipes.discard(asyncio.current_task())

    async def _pipe(self, reader, writer):
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def _close(self):
        self._server.close()
        for pipe in self._pipes.copy():
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def proxy(valkey, authority):
    with TLSProxy(valkey.port, authority.issue_cert(HOST)) as proxy:
        yield proxy


@pytest.fixture
def url(proxy, authority, tmp_path):
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return f"rediss://{HOST}:{proxy.port}/0?ssl_ca_certs={path}"


@pytest.fixture
def process(url, request):
    """Makes processes whose connections are all encrypted."""
    made = []

    def make():
        client = sync.connect(parse(url), POOL, {})
        layer = Layer(
            CacheSettings(prefix=request.node.name, local_ttl=60),
            client=lambda: client,
            async_client=lambda: None,
            registry=CollectorRegistry(),
        )
        layer.messages.listen()
        assert layer.messages.connected.wait(5)
        made.append((layer, client))
        return layer

    yield make
    for layer, client in made:
        layer.messages.stop()
        client.connection_pool.close()


def test_threads_read_write_and_hear_over_tls(process):
    one, two = process(), process()
    assert (read(one, "old"), read(two, "other")) == ("old", "old")
    assert invalidate(tags=["t"], layer=one)
    until(lambda: read(two, "new") == "new", "the other has heard")


def test_coroutines_read_and_write_over_tls(url, request):
    key = request.node.name

    async def main():
        client = async_client(url, **POOL)
        try:
            return await client.set(key, b"x", ex=60), await client.get(key)
        finally:
            await client.aclose()

    assert asyncio.run(main()) == (True, b"x")


def test_a_certificate_that_nobody_vouches_for_is_refused(proxy):
    url = f"rediss://{HOST}:{proxy.port}/0"
    client = sync.connect(parse(url), POOL, {})
    with pytest.raises(LostConnection, match="CERTIFICATE_VERIFY_FAILED"):
        client.ping()
    client.connection_pool.close()

    async def ask():
        client = async_client(url, **POOL)
        try:
            await client.ping()
        finally:
            await client.aclose()

    with pytest.raises(LostConnection, match="CERTIFICATE_VERIFY_FAILED"):
        asyncio.run(ask())
