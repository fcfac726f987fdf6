"""What of metrics each process does, by its role."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.backends.signals import connection_created
from prometheus_client import REGISTRY, disable_created_metrics

from cachelayer.layer import cache_layer
from performance.conf import performance_settings
from performance.metrics.instruments import instruments
from performance.metrics.queue import QueueSampler
from performance.metrics.serving import PATH, serve
from performance.metrics.states import States
from performance.metrics.tallies import Translator
from performance.recording.rescue import rescued

if TYPE_CHECKING:
    from collections.abc import Callable

    from performance.entry import Message
    from performance.recording.observer import Observer, Sampler

# Of one machine: each worker takes the first port that is free.
MOST_WORKERS = 100


class Publisher:
    """Hears what the observer tells, and publishes it for Prometheus."""

    def __init__(self, role: str) -> None:
        """The metrics that this role has."""
        self._instruments = instruments(role)
        self._translator = Translator(self._instruments)
        self._states = States(self._instruments)
        # The signal would forget a method that nobody else holds.
        connection_created.connect(self._states.opened, weak=False)

    def hear(self, message: Message) -> None:
        """What was seen since the last time."""
        with rescued("metrics.tallies"):
            self._translator.take(message.tallies)
        with rescued("metrics.states"):
            self._states.take(message.values)
        with rescued("metrics.cache"):
            cache_layer().stats.publish()


def publish(
    observer: Observer, samplers: list[Sampler], role: str, report: Callable[[str], object]
) -> int:
    """Publish what the observer tells; returns the port where that is to be had, 0 for none.

    What must be asked for metrics only is added to the `samplers`.
    """
    port = performance_settings().metrics_port
    if not port:
        return 0
    observer.listeners.append(Publisher(role).hear)
    if role == "web":
        samplers.append(QueueSampler(instruments(role)))
        return port
    # Imported where it is used, for it registers metrics as it is.
    from performance.metrics.migrations import MigrationsSampler

    samplers.append(MigrationsSampler())
    return serve_worker(report)


def serve_worker(report: Callable[[str], object]) -> int:
    """Answer for this process on the first free port after METRICS_PORT; 0 when none is."""
    # A series more for each, which nobody asks for.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    settings = performance_settings()
    first = settings.metrics_port + 1
    ports = range(first, min(first + MOST_WORKERS, 65536))
    server = serve(REGISTRY, settings.metrics_host, ports)
    if server is None:
        report(f"no metrics: all ports after {settings.metrics_port} are taken (METRICS_PORT)")
        return 0
    report(f"metrics at http://{settings.metrics_host}:{server.server_port}{PATH}")
    return server.server_port
