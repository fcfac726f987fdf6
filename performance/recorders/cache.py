"""The cache: what both levels did lately, and what level 2 costs whoever waits for it."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from performance.recording.process import buffer
from performance.recording.rescue import failed, is_unobserved, rescued
from performance.recording.watch import current

if TYPE_CHECKING:
    from cachelayer.layer import Layer
    from cachelayer.stats import Event

NAME = "cache"
# What the namespaces of the console itself begin with: it does not watch itself.
OURS = "performance"
# Of `cachelayer.stats.LevelStats`: what is counted, and what adds up beside a count.
COUNTED = (
    "hits", "misses", "sets", "evictions", "invalidations", "stale_serves", "negative_hits",
    "reloads", "waits", "errors", "corrupt", "too_large",
)  # fmt: skip
SIZED = ("bytes_read", "bytes_written")
# To know it, level 1 looks at all its entries.
SIZE_EVERY = 10.0


def remote_answered(seconds: float) -> None:
    """Receives what each call of level 2 took: a part of the request that made it."""
    if is_unobserved():
        return
    try:
        buffer.record("cache.call", "", seconds * 1000)
        watch = current.get()
        if watch is not None:
            watch.cache += seconds * 1000
    except Exception:
        failed(NAME)


class CacheSampler:
    """Records what is new in a layer's counters, and how it is."""

    name = NAME
    every = 2.0

    def __init__(self, layer: Layer) -> None:
        """Hears of the layer's events and calls from now on."""
        self._layer = layer
        self._known: dict[tuple[str, str], dict[str, float]] = {}
        self._size = (0, 0)
        self._size_due = 0.0
        layer.stats.subscribe(self._happened)
        layer.remote.listen(remote_answered)

    def sample(self) -> None:
        """Record it by namespace; types are as `cache.local.hits`."""
        for namespace, levels in self._layer.stats.snapshot().items():
            if namespace.startswith(OURS):
                continue
            for level, counters in levels.items():
                known = self._known.get((namespace, level), {})
                new = {name: value - known.get(name, 0) for name, value in counters.items()}
                self._known[namespace, level] = counters
                _record(f"{NAME}.{level}", namespace, new)
        self._publish()

    def _publish(self) -> None:
        layer, breaker = self._layer, self._layer.remote.breaker
        if monotonic() >= self._size_due:
            self._size = (layer.local.bytes_used, len(layer.local))
            self._size_due = monotonic() + SIZE_EVERY
        size, entries = self._size
        buffer.publish(
            NAME,
            {
                "bytes": size,
                "entries": entries,
                "most_bytes": layer.settings.local_max_bytes,
                "breaker": breaker.state,
                "opened": breaker.times_opened,
                "refused": breaker.refused,
                "owes": layer.remote.owes,
            },
        )

    def _happened(self, event: Event) -> None:
        if event.kind != "breaker":
            return
        with rescued(NAME):
            state = str(event.details["state"])
            buffer.count("cache.breaker", state)
            # Each is kept: the breaker changes a few times a minute at most.
            buffer.sample("cache.breaker", state, time(), event.details)


def _record(prefix: str, namespace: str, new: dict[str, float]) -> None:
    for name in COUNTED:
        if new[name]:
            buffer.count(f"{prefix}.{name}", namespace, new[name])
    for name in SIZED:
        if new[name]:
            buffer.count(f"{prefix}.{name}", namespace, 1, new[name])
    if new["loads"]:
        buffer.count(f"{prefix}.loads", namespace, new["loads"], new["load_seconds"] * 1000)
