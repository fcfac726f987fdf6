"""Connections of Django's pools that nobody gives back.

A request that runs may hold one for as long as it likes. What it has not given back when it ends is
lost to everybody else: it is found, told with the stack that took it, and given back by force where
nobody can be using it any more (`Checkout.is_abandoned`).
"""

from __future__ import annotations

import logging
from contextlib import suppress
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any
from weakref import ref

from django.core.signals import request_finished, request_started
from django.db import connections
from psycopg import Error

from performance.recorders.checkouts import Checkout, Work, current, lives, stack
from performance.recording.process import buffer, governor
from performance.recording.rescue import is_unobserved, rescued

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

logger = logging.getLogger(__name__)

NAME = "leaked_connection"
FORCED = "pool.forced"


class Checkouts:
    """What is out of this process's pools now."""

    def __init__(self) -> None:
        """Nothing is."""
        self._held: dict[int, Checkout] = {}

    def take(self, pool: ConnectionPool[Any], connection: Connection[Any], key: str) -> None:
        """It was taken out of the pool by whoever runs now."""
        if is_unobserved():
            return
        with rescued(NAME):
            began = perf_counter()
            work, owner = current.get(), ref(lives.life)
            checkout = Checkout(connection, pool, key, work, owner, stack())
            self._held[id(connection)] = checkout
            if work is not None:
                work.held[id(connection)] = checkout
            governor.spent += perf_counter() - began

    def belongs(self, connection: Connection[Any], wrapper: BaseDatabaseWrapper) -> None:
        """It was taken for a connection of Django's."""
        checkout = self._held.get(id(connection))
        if checkout is not None:
            checkout.wrapper = ref(wrapper)
            if checkout.work is not None:
                checkout.work.wrappers.add(wrapper)

    def give_back(self, connection: Connection[Any]) -> None:
        """It goes back; told before it does, for the next may have it at once."""
        checkout = self._held.pop(id(connection), None)
        if checkout is not None and checkout.work is not None:
            checkout.work.held.pop(id(connection), None)

    def begin(self, environ: dict[str, Any]) -> None:
        """A request begins in this greenlet; an earlier one that nobody has ended is over."""
        if current.get() is not None:
            self.end()
        current.set(Work(environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", "")))

    def end(self) -> None:
        """Its answer is sent: what it still holds goes back, as far as that harms nobody."""
        work = current.get()
        if work is None:
            return
        current.set(None)
        work.is_over = True
        for wrapper in work.wrappers:
            with rescued(NAME):
                leave(wrapper, work)
        for checkout in list(work.held.values()):
            if checkout.is_abandoned():
                with rescued(NAME):
                    self.force(checkout)

    def look(self, leak_after: float) -> list[dict[str, Any]]:
        """Find leaks; returns those that stay, and what slow requests hold, the oldest first."""
        self.reclaim()
        found = []
        for checkout in list(self._held.values()):
            if monotonic() - checkout.since < leak_after:
                continue
            if not checkout.is_running:
                tell(checkout)
            found.append(
                checkout.document("held by a slow request" if checkout.is_running else "leaked")
            )
        return found

    def reclaim(self) -> None:
        """Give back by force all that nobody can be using."""
        for checkout in list(self._held.values()):
            if checkout.is_abandoned():
                with rescued(NAME):
                    self.force(checkout)

    def __len__(self) -> int:
        return len(self._held)

    def force(self, checkout: Checkout) -> None:
        """Give back what nobody uses, rolled back; its leak is told.

        Not what somebody else has given back meanwhile, or is at: it may be lent again by then.
        """
        if self._held.get(id(checkout.connection)) is not checkout:
            return
        self.give_back(checkout.connection)
        tell(checkout)
        buffer.count(FORCED, checkout.key)
        wrapper = checkout.wrapper()
        if wrapper is not None:
            wrapper.connection = None
        with suppress(Error):
            checkout.connection.rollback()
            checkout.connection.autocommit = True
        checkout.pool.putconn(checkout.connection)


def leave(wrapper: BaseDatabaseWrapper, work: Work) -> None:
    """Have Django give back what a request took, a transaction that was left open included.

    Django does so itself, but then believes that the greenlet's next request is in that
    transaction still, and refuses to connect for it.
    """
    wrapper.close_if_unusable_or_obsolete()
    if wrapper.in_atomic_block and connections[wrapper.alias] is wrapper:
        del connections[wrapper.alias]
        logger.warning("%s left a transaction open: it was rolled back", work.view)


def tell(checkout: Checkout) -> None:
    """Record a leak and log it, once."""
    if checkout.is_told:
        return
    checkout.is_told = True
    document = checkout.document("leaked")
    key, held = document["where"], document["held"]
    buffer.record(NAME, key, held * 1000)
    buffer.describe(NAME, key, document)
    buffer.sample(NAME, key, held * 1000, document)
    logger.warning(
        "a connection of %s was not given back; %s took it %.0f s ago: %s",
        checkout.key, document["view"], held, " < ".join(document["stack"]),
    )  # fmt: skip


checkouts = Checkouts()


def connect() -> None:
    """Be told when requests begin and end."""
    request_started.connect(_begin, dispatch_uid="performance.leaks")
    request_finished.connect(_end, dispatch_uid="performance.leaks")


def _begin(environ: dict[str, Any] | None = None, **_: object) -> None:
    with rescued(NAME):
        checkouts.begin(environ or {})


def _end(**_: object) -> None:
    with rescued(NAME):
        checkouts.end()
