"""The metrics of all web processes of one server, answered by gunicorn's master.

It knows no Django: it adds up what each process leaves in a file. The master is idle, so it also
answers while every web process is stuck.

To be imported after `directory.VARIABLE` is set, and before any process is forked.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from threading import RLock, Thread
from time import sleep
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from performance.metrics.catalogue import BY_ROLE
from performance.metrics.files import bury
from performance.metrics.serving import PATH, serve
from performance.recording.rescue import rescued

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from performance.metrics.serving import Server

# Seconds: the port is free again when the server that this one replaces has ended.
TRY_AGAIN_AFTER = 5.0


class Fleet(Collector):
    """All processes' numbers, those of processes that have ended included."""

    def __init__(self, directory: Path, quiet: RLock) -> None:
        """While `quiet` is held, nothing is read."""
        self._files: Any = MultiProcessCollector(None, path=str(directory))  # type: ignore[no-untyped-call]
        self._quiet = quiet

    def collect(self) -> Iterable[Metric]:
        """What is known, and the HELP of what is not known yet."""
        with self._quiet:
            found = {metric.name: metric for metric in self._files.collect()}
        for one in BY_ROLE["web"]:
            name = one.name.removesuffix("_total") if one.kind == "counter" else one.name
            found.setdefault(name, Metric(name, one.about, one.kind))
        return sorted(found.values(), key=lambda metric: metric.name)


@dataclass(slots=True)
class Master:
    """Answers for the processes that write to `directory`, all of them its children."""

    directory: Path
    host: str
    port: int
    _quiet: RLock = field(default_factory=RLock)
    _server: Server | None = None

    def __post_init__(self) -> None:
        """Make no child while a thread is in the middle of something."""
        os.register_at_fork(
            before=self._quiet.acquire,
            after_in_parent=self._quiet.release,
            after_in_child=self._become_child,
        )

    def start(self, report: Callable[[str], object]) -> None:
        """Answer from now on, or from when the port is free."""
        if self._serve():
            report(f"metrics at http://{self.host}:{self.port}{PATH}")
            return
        report(f"no metrics yet: port {self.port} is taken (METRICS_PORT)")
        Thread(target=self._keep_trying, args=(report,), name="metrics", daemon=True).start()

    def prepare(self) -> None:
        """A process is about to be made, which could not start without the directory."""
        with rescued("metrics"):
            # Whoever tidies up temporary files knows nothing of us.
            self.directory.mkdir(mode=0o700, exist_ok=True)

    def ended(self, pid: int) -> None:
        """A web process has ended."""
        # gunicorn ends when this raises.
        with rescued("metrics"), self._quiet:
            bury(self.directory, pid)

    def stop(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _serve(self) -> bool:
        registry = CollectorRegistry()
        registry.register(Fleet(self.directory, self._quiet))
        with self._quiet:
            self._server = serve(registry, self.host, [self.port])
        return self._server is not None

    def _keep_trying(self, report: Callable[[str], object]) -> None:
        while not self._serve():
            sleep(TRY_AGAIN_AFTER)
        report(f"metrics at http://{self.host}:{self.port}{PATH}")

    def _become_child(self) -> None:
        self._quiet.release()
        if self._server is not None:
            # Or the port would be taken for as long as any child lives.
            self._server.socket.close()
