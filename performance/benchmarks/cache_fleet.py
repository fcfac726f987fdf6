"""What `benchmark cache` reads: a payload, and layers that stand for as many processes."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.conf import settings
from django_redis import get_redis_connection
from prometheus_client import CollectorRegistry

from cachelayer.conf import cache_settings
from cachelayer.layer import Layer, clients_by_loop
from cachelayer.policy import Policy
from cachelayer.pools import parse
from cachelayer.tiered import TieredCache
from loadtests.catalogue import expected_records

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = "benchmark"
PROCESSES = 5
RECORDS = 30
# Longer than the benchmark takes, so that nothing ends or is asked for again in the middle.
LIFETIME = 3600.0


def payload(records: int = RECORDS) -> bytes:
    """Rendered JSON: a listing page's records, by default about 4 kB of them."""
    return json.dumps(expected_records(1)[:records], separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Process:
    """One process's level 1 with a cache on it."""

    layer: Layer
    values: TieredCache


@dataclass(frozen=True, slots=True)
class Fleet:
    """Processes that share level 2, and bare redis-py on the same pool."""

    client: Any
    prefix: str
    processes: tuple[Process, ...]


@contextmanager
def fleet() -> Iterator[Fleet]:
    """Processes on the service's own level 2, under keys of their own that go with the block."""
    alias = cache_settings().alias
    client = get_redis_connection(alias)
    prefix = f"benchmark-{uuid4().hex}"
    processes = tuple(_process(alias, prefix, client) for _ in range(PROCESSES))
    try:
        for process in processes:
            process.layer.messages.listen()
            # To be connected empties level 1, which must not happen while it is measured.
            if not process.layer.messages.connected.wait(10):
                raise RuntimeError("the cache server does not answer")
        yield Fleet(client, prefix, processes)
    finally:
        for process in processes:
            process.layer.messages.stop()
        for key in client.scan_iter(match=f"{prefix}:*", count=1000):
            client.unlink(key)


def _process(alias: str, prefix: str, client: Any) -> Process:
    url = str(settings.CACHES[alias]["LOCATION"])
    layer = Layer(
        replace(cache_settings(), prefix=prefix, local_ttl=LIFETIME, local_max_ttl=LIFETIME),
        client=lambda: client,
        async_client=partial(clients_by_loop().of, url),
        is_cluster=parse(url).kind == "cluster",
        registry=CollectorRegistry(),
    )
    return Process(layer, TieredCache(NAMESPACE, Policy(ttl=LIFETIME), layer=lambda: layer))
