"""Connections that nobody gives back: of Django's pools, and of those that `lent.py` watches.

A request that runs may hold one for as long as it likes, and so may a task. What it has not given
back when it ends is lost to everybody else: it is found, told with the stack that took it, and
given back by force where nobody can be using it any more (`Checkout.is_abandoned`).
"""

from __future__ import annotations

import logging
import os
import sys
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any
from weakref import ref

from django.core.signals import request_finished, request_started
from django.db import connections

from performance.recorders.checkouts import DjangoCheckout, Work, current, is_lent_by_django, stack
from performance.recording.process import buffer, governor
from performance.recording.rescue import failed, is_unobserved, rescued

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from performance.recorders.checkouts import Checkout

logger = logging.getLogger(__name__)

NAME = "leaked_connection"
# By pool: those that were not given back, and those that were by force.
LEAKED, FORCED = "pool.leaked", "pool.forced"


class Checkouts:
    """What is out of this process's pools now."""

    def __init__(self) -> None:
        """Nothing is."""
        self._held: dict[int, Checkout] = {}

    def take(self, pool: ConnectionPool[Any], connection: Connection[Any], key: str) -> None:
        """It was taken out of Django's pool by whoever runs now."""
        if is_unobserved():
            return
        began = perf_counter()
        try:
            # Django gives back itself what it takes in a request: nobody will look for a line.
            is_safe = is_lent_by_django(sys._getframe(2))
            self.add(DjangoCheckout(connection, pool, key, [] if is_safe else stack()))
        except Exception:
            failed(NAME)
        governor.spent += perf_counter() - began

    def add(self, checkout: Checkout) -> None:
        """It is out of its pool from now on."""
        self._held[id(checkout.connection)] = checkout
        if checkout.work is not None:
            checkout.work.held[id(checkout.connection)] = checkout

    def belongs(self, connection: Connection[Any], wrapper: BaseDatabaseWrapper) -> None:
        """It was taken for a connection of Django's."""
        checkout = self._held.get(id(connection))
        if isinstance(checkout, DjangoCheckout):
            checkout.wrapper = ref(wrapper)
            if checkout.work is not None:
                checkout.work.wrappers.add(wrapper)

    def give_back(self, connection: object) -> None:
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
        """Find leaks; returns those that stay, and what others hold for long, the oldest first."""
        self.reclaim()
        found = []
        for checkout in list(self._held.values()):
            if monotonic() - checkout.since < leak_after:
                continue
            if checkout.is_running and not checkout.is_lost:
                found.append(checkout.document(checkout.SLOW))
            else:
                tell(checkout)
                found.append(checkout.document("leaked"))
        return found

    def reclaim(self) -> None:
        """Give back by force all that nobody can be using, and forget what is gone."""
        for checkout in list(self._held.values()):
            with rescued(NAME):
                if checkout.is_gone:
                    self.give_back(checkout.connection)
                elif checkout.is_abandoned():
                    self.force(checkout)

    def forget(self) -> None:
        """Start again: a child has no connection of its parent's."""
        self._held.clear()

    def __len__(self) -> int:
        return len(self._held)

    def force(self, checkout: Checkout) -> None:
        """Give back what nobody uses; its leak is told.

        Not what somebody else has given back meanwhile, or is at: it may be lent again by then.
        """
        if self._held.get(id(checkout.connection)) is not checkout:
            return
        self.give_back(checkout.connection)
        tell(checkout)
        buffer.count(FORCED, checkout.key)
        checkout.put_back()


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
    buffer.count(LEAKED, checkout.key)
    buffer.describe(NAME, key, document)
    buffer.sample(NAME, key, held * 1000, document)
    logger.warning(
        "a connection of %s was not given back; %s took it %.0f s ago: %s",
        checkout.key, document["view"], held, " < ".join(document["stack"]),
    )  # fmt: skip


checkouts = Checkouts()
os.register_at_fork(after_in_child=checkouts.forget)


def connect() -> None:
    """Be told when requests begin and end."""
    request_started.connect(_begin, dispatch_uid="performance.leaks")
    request_finished.connect(_end, dispatch_uid="performance.leaks")


def _begin(environ: dict[str, Any] | None = None, **_: object) -> None:
    try:
        checkouts.begin(environ or {})
    except Exception:
        failed(NAME)


def _end(**_: object) -> None:
    try:
        checkouts.end()
    except Exception:
        failed(NAME)
