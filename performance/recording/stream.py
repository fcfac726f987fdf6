"""The way from every process to the one that writes: a capped stream in Valkey.

When Valkey is away, messages are dropped and counted. When the stream is longer than anybody reads,
Valkey drops the oldest, which nobody counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connection

from cachelayer.conf import cache_settings
from cachelayer.layer import cache_layer
from cachelayer.remote import Unavailable
from performance.recording.wire import packed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cachelayer.remote import Remote
    from performance.entry import Message

# About ten minutes of a fleet of 16 processes.
MOST_MESSAGES = 10_000
START = "0-0"
# With a key, so that in a cluster the server is asked that gives the ids.
CLOCK = "return redis.call('TIME')"


class Stream:
    """Messages in the order they came; each has an id that grows."""

    def __init__(self, remote: Remote, prefix: str) -> None:
        """`remote` is the cache layer's second level, with its circuit breaker."""
        self._remote = remote
        self._key = f"{prefix}:performance"

    def append(self, message: Message) -> None:
        """Add a message. Raises Unavailable."""
        self._call("XADD", self._key, "MAXLEN", "~", MOST_MESSAGES, "*", "message", packed(message))

    def read(self, after: str, most: int) -> Iterator[tuple[str, bytes]]:
        """At most so many messages that came after that id. Raises Unavailable."""
        found: Any = self._call("XRANGE", self._key, f"({after}", "+", "COUNT", most)
        for message_id, fields in found:
            yield message_id.decode(), fields.get(b"message", b"")

    def last(self) -> str:
        """The id that was given last, START when there is none."""
        try:
            reply: Any = self._call("XINFO STREAM", self._key)
        except Unavailable:
            # Refused because there is no stream; when nothing answers, so does the next call not.
            return START
        found: bytes = reply["last-generated-id"]
        return found.decode()

    def now(self) -> float:
        """Seconds since the epoch by the clock of ids. Raises Unavailable."""
        reply: Any = self._call("EVAL", CLOCK, 1, self._key)
        seconds, microseconds = map(int, reply)
        return seconds + microseconds / 1e6

    def clear(self) -> None:
        """Forget everything, the last id included. Raises Unavailable."""
        self._call("UNLINK", self._key)

    def remove(self, upto: str) -> None:
        """Forget messages up to that id. Raises Unavailable."""
        milliseconds, _, number = upto.partition("-")
        self._call("XTRIM", self._key, "MINID", f"{milliseconds}-{int(number) + 1}")

    def _call(self, *command: object) -> object:
        return self._remote.call(command)[0]


def fleet_stream() -> Stream:
    """The fleet's, on the cache layer's server.

    A fleet is who shares a database: what a benchmark does in one of its own is not told to others.
    """
    database = connection.settings_dict["NAME"]
    return Stream(cache_layer().remote, f"{cache_settings().prefix}:{database}")
