"""A connection that is out of its pool: who took it, for what request, and by which line."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

from psycopg import Error

from performance.recording.places import RUNS_A_LOOP, line_of, origin, places
from performance.recording.watch import lives, working

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from django.db.backends.base.base import BaseDatabaseWrapper

    from performance.recording.watch import Life, Watch

# The attribute of the checkout, and the argument of `getrefcount`.
NOBODY = 2
# Deep enough for a view's line in most cases; each frame costs more than 0.1 µs.
MOST_FRAMES = 25
# Takes connections for everybody.
PLUMBING = (
    *("scraper_site/postgresql/", "django/db/backends/", "django/utils/asyncio.py"),
    *("cachelayer/pools/", "redis/", "django_redis/"),
    *("jobs/engine/lending.py", "asyncpg/", "performance/recorders/"),
)


@dataclass(slots=True, eq=False)
class Checkout:
    """A connection that is out of its pool; `key` is the pool's name, as it is recorded.

    `owner` lives as long as the thread or greenlet that took it. `KNOWN` is how often its pool
    refers to a connection that it has lent, `SLOW` what whoever runs on and holds it is called.
    """

    KNOWN: ClassVar[int] = 0
    SLOW: ClassVar[str] = "held by a slow request"

    connection: Any
    pool: Any
    key: str
    stack: list[tuple[CodeType, int]]  # with the instruction that it was at
    work: Watch | None = field(default_factory=working.get)
    owner: ref[Life] = field(default_factory=lambda: ref(lives.life))
    since: float = field(default_factory=monotonic)
    is_told: bool = False

    @property
    def taker(self) -> str:
        """What was at work when it was taken."""
        return self.work.view if self.work else "(no request)"

    @property
    def is_running(self) -> bool:
        """Whether the request that took it is still at work."""
        is_alive = self.owner() is not None
        return is_alive and self.work is not None and not self.work.is_over

    @property
    def is_lost(self) -> bool:
        """Whether nobody has it: nothing refers to it but its pool and this."""
        return sys.getrefcount(self.connection) <= NOBODY + self.KNOWN

    @property
    def is_gone(self) -> bool:
        """Whether its pool has it no more, so that it cannot be given back."""
        return False

    def is_abandoned(self) -> bool:
        """Whether nobody can be using it, nor will, so that it may go back by force."""
        return self.is_lost

    def put_back(self) -> None:
        """Give it back as whoever took it should have, in a state for others to use."""
        raise NotImplementedError

    def document(self, state: str) -> dict[str, Any]:
        """It as plain data: `held` is seconds, `where` the file and function that took it."""
        lines = ((code, line_of(code, instruction)) for code, instruction in self.stack)
        above = takewhile(lambda one: not one.file.endswith(RUNS_A_LOOP), places(lines))
        stack = [one for one in above if not one.file.startswith(PLUMBING)]
        place = origin(stack)
        return {
            "state": state,
            "pool": self.key,
            "view": self.taker,
            "held": round(monotonic() - self.since, 1),
            "where": place.key if place else "Django",
            "stack": list(map(str, stack)),
        }


@dataclass(slots=True, eq=False)
class DjangoCheckout(Checkout):
    """Of a pool of Django's.

    `wrapper` gives the connection of Django's that it was taken for, None when it was taken
    straight out of the pool.
    """

    wrapper: Callable[[], BaseDatabaseWrapper | None] = lambda: None

    def is_abandoned(self) -> bool:
        """Also when it is lent to a greenlet that is dead.

        Django lends a connection to the greenlet that took it only, unless threads share it. What
        was taken straight out of the pool may be in anybody's hands.
        """
        if self.is_lost:
            return True
        wrapper = self.wrapper()
        if wrapper is None or wrapper.allow_thread_sharing:
            return False
        return self.owner() is None

    def put_back(self) -> None:
        """Give it back, rolled back."""
        wrapper = self.wrapper()
        if wrapper is not None:
            wrapper.connection = None
        with suppress(Error):
            self.connection.rollback()
            self.connection.autocommit = True
        self.pool.putconn(self.connection)


def stack(asker: FrameType) -> list[tuple[CodeType, int]]:
    """The code of who asked the pool and of who called that, the innermost first."""
    frame: FrameType | None = asker
    found: list[tuple[CodeType, int]] = []
    while frame is not None and len(found) < MOST_FRAMES:
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return found
