"""What processes tell each other by pub/sub: which keys and tags are no longer valid.

One thread (a greenlet in a web process) listens once a process has begun to use its level 1. A
message can be lost; so whenever the listener has to reconnect, level 1 and the known generations
are emptied, and both forget by themselves within the layer's `local_ttl` anyway.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgpack
from redis.exceptions import RedisError

from cachelayer.remote import EVERYWHERE, Unavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from cachelayer.layer import Layer
    from cachelayer.remote import Command

logger = logging.getLogger(__name__)

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
POLL = 5.0


class Messages:
    """Sends and hears the invalidations of one prefix."""

    def __init__(self, layer: Layer) -> None:
        """Listens from `listen` on."""
        self._layer = layer
        self._channel = f"{layer.settings.prefix}:invalidate"
        self._thread: threading.Thread | None = None
        self._sender: threading.Thread | None = None
        self._outbox: dict[str, Command] = {}
        self._posted = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.connected = threading.Event()

    def command(
        self, *, keys: Collection[str] = (), tags: Collection[str] = (), everything: bool = False
    ) -> Command:
        """The command that tells every process."""
        return ("PUBLISH", self._channel, msgpack.packb([list(keys), list(tags), everything]))

    def listen(self) -> None:
        """Hear what other processes invalidate; called again, it changes nothing."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="cache-invalidation", daemon=True
                )
                self._thread.start()

    def invalidate_soon(self, tags: Collection[str]) -> None:
        """Invalidate tags in this process now, and in the others without waiting for it."""
        for tag in tags:
            (self._outbox[tag],) = self._layer.tags.bump((tag,))
        self._posted.set()
        if self._sender is None:
            with self._lock:
                if self._sender is None:
                    self._sender = threading.Thread(
                        target=self._send, name="cache-messages", daemon=True
                    )
                    self._sender.start()

    def _send(self) -> None:
        while not self._stopping.is_set():
            self._posted.wait()
            self._posted.clear()
            posted, self._outbox = self._outbox, {}
            if not posted:
                continue
            try:
                self._layer.remote.call(*posted.values(), self.command(tags=posted))
            except Unavailable:
                self._layer.tags.failed_to_send(posted)

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        self._posted.set()
        if self._thread is not None:
            # A message wakes the listener; one that cannot be sent has no listener to wake.
            with suppress(Unavailable):
                self._layer.remote.call(self.command())
            self._thread.join(timeout=2 * POLL)

    def _run(self) -> None:
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            try:
                self._hear()
                delay = FIRST_DELAY
            except (RedisError, OSError) as error:
                logger.debug("cache invalidation is not heard: %s", error)
            self.connected.clear()
            self._forget_everything()
            self._stopping.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _hear(self) -> None:
        with self._layer.remote.subscriber() as subscriber:
            subscriber.subscribe(self._channel)
            while not self._stopping.is_set():
                message = subscriber.get_message(timeout=POLL)
                if message is None:
                    # An answer proves that the connection still hears.
                    subscriber.ping()
                elif message["type"] == "subscribe":
                    self._forget_everything()
                    self.connected.set()
                elif message["type"] == "message":
                    self._obey(message["data"])

    def _obey(self, data: Any) -> None:
        try:
            keys, tags, everything = msgpack.unpackb(data)
            self._layer.local.delete(keys)
            self._layer.tags.forget(tags)
            if everything:
                self._forget_everything()
        except (ValueError, TypeError, msgpack.UnpackException):
            self._layer.stats.of(EVERYWHERE).remote.corrupt += 1

    def _forget_everything(self) -> None:
        self._layer.local.clear()
        self._layer.tags.forget_all()
