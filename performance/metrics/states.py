"""What a process has told of its present state, as metrics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from performance.metrics.tallies import server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from performance.metrics.instruments import Instruments

VALKEY = "Valkey "


class States:
    """Publishes the `values` of messages. Counters follow those of the process."""

    def __init__(self, instruments: Instruments) -> None:
        """Those of the process."""
        self._instruments = instruments
        # By pool: what it had opened, and how many of these were told as created.
        self._opened: dict[str, tuple[int, int]] = {}

    def take(self, values: Mapping[str, dict[str, Any]]) -> None:
        """What is new of each type."""
        for type, publish in (
            ("pools", self._pools),
            ("worker", self._worker),
            ("memory", self._memory),
            ("process", self._process),
        ):
            if type in values:
                publish(values[type])

    def _pools(self, document: dict[str, Any]) -> None:
        pools = document["pools"]
        for pool in pools:
            if not pool["name"].startswith(VALKEY):
                self._database(pool, pool["name"].rpartition(" ")[2])
        self._valkey([pool for pool in pools if pool["name"].startswith(VALKEY)])
        leaked = Counter(
            server(held["pool"]) for held in document["held"] if held["state"] == "leaked"
        )
        self._instruments.set("db_connections_lost", leaked["db"])
        self._instruments.set("redis_connections_lost", leaked["redis"])

    def _database(self, pool: dict[str, Any], name: str) -> None:
        gauge, reach = self._instruments.set, self._instruments.reach
        gauge("db_connection_pool_size", pool["size"], name)
        gauge("db_connection_pool_max", pool["max"], name)
        gauge("db_connections_in_use", pool["used"], name)
        reach("db_connections_created_total", self._created(pool, name), name)
        if pool["waiting"] is None:
            # asyncpg's count nothing else.
            return
        gauge("db_connections_awaited", pool["waiting"], name)
        reach("db_connection_errors_total", pool["opening_failed"], name)
        reach("db_connection_timeouts_total", pool["refused"], name)

    def _created(self, pool: dict[str, Any], name: str) -> int:
        """How many connections a pool has made.

        psycopg's pools count attempts as they begin and failures as they end, so the difference
        falls with each failure; only a pool that is another one begins at zero.
        """
        opened: int = pool["opened"]
        created = opened - (pool["opening_failed"] or 0)
        before, told = self._opened.get(name, (0, 0))
        if opened >= before:
            created = max(created, told)
        self._opened[name] = opened, created
        return created

    def _valkey(self, pools: list[dict[str, Any]]) -> None:
        """All of its pools together: their names are addresses, and a cluster has one a node."""
        gauge, reach = self._instruments.set, self._instruments.reach
        gauge("redis_connection_pool_size", total(pools, "size"))
        gauge("redis_connection_pool_max", total(pools, "max"))
        gauge("redis_connections_in_use", total(pools, "used"))
        # A node that leaves takes along what it has counted: each is followed by itself.
        for name in {pool["name"] for pool in pools}:
            own = [pool for pool in pools if pool["name"] == name]
            reach("redis_connection_waits_total", total(own, "queued"), of=name)
            waited = total(own, "queued_ms") / 1000
            reach("redis_connection_wait_seconds_total", waited, of=name)
            reach("redis_connection_timeouts_total", total(own, "refused"), of=name)
            reach("redis_reconnects_total", total(own, "lost"), of=name)

    def _worker(self, document: dict[str, Any]) -> None:
        self._instruments.set("worker_concurrency", document["concurrency"])
        self._instruments.set("worker_jobs_running", document["in_use"])
        self._instruments.set("worker_jobs_committing", document["committing"])

    def _memory(self, document: dict[str, Any]) -> None:
        if document["rss"] is not None:
            self._instruments.set("memory_usage_bytes", document["rss"])
            self._instruments.set("memory_usage_largest_process_bytes", document["rss"])

    def _process(self, document: dict[str, Any]) -> None:
        gauge, reach = self._instruments.set, self._instruments.reach
        gauge("service_processes", 1, document["role"])
        gauge("observer_cost_ratio", document["cost"])
        gauge("observer_sampling_ratio", document["rate"])
        reach("observer_dropped_messages_total", document["dropped"])
        for recorder, number in document["failures"].items():
            reach("observer_failures_total", number, recorder)

    def opened(self, connection: Any, **_: object) -> None:
        """Receives Django's `connection_created`: a connection that no pool counts."""
        # With a pool, Django sends this whenever a connection is taken out of it.
        if not connection.settings_dict["OPTIONS"].get("pool"):
            self._instruments.add("db_connections_created_total", 1, connection.alias)


def total(pools: Iterable[dict[str, Any]], counter: str) -> float:
    """What pools have of something together."""
    return sum(float(pool[counter]) for pool in pools)
