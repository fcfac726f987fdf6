"""What processes tell each other by pub/sub: which keys and tags are no longer valid.

One thread (a greenlet in a web process) listens once a process has begun to use its level 1, and
one sends what nobody waits for. A message can be lost; so whenever the listener has subscribed
anew, level 1 and the known generations are emptied, and both forget by themselves within the
layer's `local_ttl` anyway.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import msgpack
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError

from cachelayer.pools.lending import kept
from cachelayer.remote import EVERYWHERE, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cachelayer.layer import Layer
    from cachelayer.remote import Command

logger = logging.getLogger(__name__)

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
QUIET = 5.0
"""Seconds without a message after which the other end is asked whether it is there."""
ANSWER = 5.0
"""Seconds it has to answer."""
LONGEST_FLUSH = 3.0

_all: WeakSet[Messages] = WeakSet()


class Messages:
    """Sends and hears the invalidations of one prefix."""

    def __init__(self, layer: Layer) -> None:
        """Listens from `listen` on."""
        self._layer = layer
        self._channel = f"{layer.settings.prefix}:invalidate"
        self.start_anew()
        _all.add(self)

    def start_anew(self) -> None:
        """No threads and nothing posted: a process that was forked has neither."""
        self._listener: threading.Thread | None = None
        self._sender: threading.Thread | None = None
        self._outbox: dict[str, Command] = {}
        self._sending: dict[str, Command] = {}
        self._heard_meanwhile: set[str] = set()
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
        if self._listener is not None:
            return
        with self._lock:
            if self._listener is None:
                self._listener = _start(self._run, "cache-invalidation")

    def invalidate_soon(self, tags: Collection[str]) -> None:
        """Invalidate tags in this process now, and in the others without waiting for it."""
        self._layer.stats.of(EVERYWHERE).local.invalidations += len(tags)
        # One step for the listener, which must not forget a generation before it is sent.
        with self._lock:
            for tag in tags:
                (self._outbox[tag],) = self._layer.tags.bump((tag,))
        self._wake_sender()

    def resend_soon(self) -> None:
        """Send what could not be sent once the server is back, even if nobody reads here."""
        self._wake_sender()

    def _wake_sender(self) -> None:
        self._posted.set()
        if self._sender is None:
            with self._lock:
                if self._sender is None:
                    self._sender = _start(self._send, "cache-messages")

    def _send(self) -> None:
        while not self._stopping.is_set() or self._outbox:
            unsent = self._layer.tags.known(()) is None or self._layer.remote.owes
            self._posted.wait(self._layer.settings.breaker_reset if unsent else None)
            self._posted.clear()
            if self._outbox or unsent:
                self._deliver()

    def _deliver(self) -> None:
        """Send what is posted; what cannot be sent now is sent before level 2 is used again."""
        with self._lock:
            self._sending, self._outbox = self._outbox, {}
        if not self._is_sent(self._sending):
            self._layer.tags.failed_to_send(self._sending)
        with self._lock:
            self._sending = {}
            self._layer.tags.forget(self._heard_meanwhile - self._outbox.keys())
            self._heard_meanwhile.clear()

    def _is_sent(self, posted: dict[str, Command]) -> bool:
        """Whether this was sent, and what could not be sent before."""
        overdue, commands = self._layer.tags.unsent()
        message = self.command(tags={*overdue, *posted})
        try:
            replies = self._layer.remote.call(*commands, *posted.values(), message)
        except Unavailable:
            return False
        except Exception:  # nobody would start the thread again
            logger.exception("invalidations could not be sent")
            return False
        # A server that is full or read-only refuses some commands of many.
        if any(isinstance(reply, RedisError) for reply in replies):
            return False
        self._layer.tags.sent(overdue)
        return True

    def stop(self) -> None:
        """Send what is posted and end the threads."""
        self.flush()
        if self._listener is not None:
            # A message wakes the listener; one that cannot be sent has no listener to wake.
            with suppress(Unavailable):
                self._layer.remote.call(self.command())
            self._listener.join(timeout=QUIET + ANSWER)

    def flush(self) -> None:
        """Send what is posted and end the sender; gives up after LONGEST_FLUSH seconds."""
        self._stopping.set()
        self._posted.set()
        if self._sender is not None:
            self._sender.join(timeout=LONGEST_FLUSH)

    def _run(self) -> None:
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            try:
                self._hear()
            except (RedisError, OSError) as error:
                logger.debug("cache invalidation is not heard: %s", error)
            except Exception:  # nobody would start the thread again
                logger.exception("cache invalidation is not heard")
            if self.connected.is_set():
                delay = FIRST_DELAY
            self.connected.clear()
            self._stopping.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _hear(self) -> None:
        with self._layer.remote.subscriber() as subscriber:
            with kept("it listens for as long as the process lives"):
                subscriber.subscribe(self._channel)
            asked = False
            while not self._stopping.is_set():
                message = subscriber.get_message(timeout=ANSWER if asked else QUIET)
                if message is not None:
                    asked = False
                    self._take(message)
                elif asked:
                    # The other end can be gone without this one having been told.
                    raise LostConnection("a ping was not answered")
                else:
                    subscriber.ping()
                    asked = True

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._forget_everything()
            self.connected.set()
        elif message["type"] == "message":
            self._obey(message["data"])

    def _obey(self, data: Any) -> None:
        try:
            keys, tags, everything = msgpack.unpackb(data)
            self._layer.local.delete(keys)
            self._forget(tags)
            if everything:
                self._forget_everything()
        except (ValueError, TypeError, msgpack.UnpackException):
            self._layer.stats.of(EVERYWHERE).remote.corrupt += 1

    def _forget(self, tags: Collection[str]) -> None:
        """Ask for these anew; not while the server has yet to get a newer generation from here.

        It would answer with the one before, and what this process has invalidated would be back.
        """
        with self._lock:
            self._heard_meanwhile.update(tag for tag in tags if tag in self._sending)
            waiting = self._outbox.keys() | self._sending.keys()
            self._layer.tags.forget([tag for tag in tags if tag not in waiting])

    def _forget_everything(self) -> None:
        self._layer.local.clear()
        with self._lock:
            self._layer.tags.forget_all(keep=self._outbox.keys() | self._sending.keys())


def _start(target: Callable[[], None], name: str) -> threading.Thread | None:
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # the process can have no more threads: the next caller tries
        logger.warning("%s could not be started: %s", name, error)
        return None
    return thread


def _start_all_anew() -> None:
    for messages in list(_all):
        messages.start_anew()


@atexit.register
def _flush_all() -> None:
    for messages in list(_all):
        messages.flush()


os.register_at_fork(after_in_child=_start_all_anew)
