"""Connections that nobody gives back: of Django's pools, and of those that `lent.py` watches.

A request that runs may hold one for as long as it likes, and so may a task. What it has not given
back when it ends is lost to everybody else: it is found, told with the stack that took it, and
given back by force where nobody can be using it any more (`Checkout.is_abandoned`).
"""

from __future__ import annotations

import logging
import os
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import ref

from django.core.signals import request_finished
from django.db import connections

from performance.recorders.checkouts import DjangoCheckout, stack
from performance.recording.process import buffer
from performance.recording.rescue import failed, is_unobserved, rescued
from performance.recording.watch import lives, working

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from django.db.backends.base.base import BaseDatabaseWrapper
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from performance.recorders.checkouts import Checkout
    from performance.recording.watch import Watch

logger = logging.getLogger(__name__)

NAME = "leaked_connection"
# By pool: those that were not given back, and those that were by force.
LEAKED, FORCED = "pool.leaked", "pool.forced"


class Checkouts:
    """What is out of this process's pools now; `held` by the id of the connection."""

    def __init__(self) -> None:
        """Nothing is."""
        self.held: dict[int, Checkout] = {}

    def take(
        self, pool: ConnectionPool[Any], connection: Connection[Any], key: str, asker: FrameType
    ) -> None:
        """It was taken out of Django's pool by hand, by that code."""
        if not is_unobserved():
            with rescued(NAME):
                self.add(DjangoCheckout(connection, pool, key, stack(asker)))

    def lend(
        self,
        pool: ConnectionPool[Any],
        connection: Connection[Any],
        key: str,
        wrapper: BaseDatabaseWrapper,
    ) -> None:
        """Django has taken it out of its pool for that connection of its own.

        What it takes in a request it gives back itself: nobody will look for a line.
        """
        if is_unobserved():
            return
        try:
            work, owner = working.get(), ref(lives.life)
            if work is not None and work.life == owner:
                lines: list[tuple[CodeType, int]] = []
                work.wrappers.add(wrapper)
            else:
                lines = stack(sys._getframe(1))
            self.held[id(connection)] = DjangoCheckout(
                connection, pool, key, lines, work, owner, monotonic(), wrapper=ref(wrapper)
            )
        except Exception:
            failed(NAME)

    def add(self, checkout: Checkout) -> None:
        """It is out of its pool from now on."""
        self.held[id(checkout.connection)] = checkout
        if checkout.work is not None:
            checkout.work.held[id(checkout.connection)] = checkout

    def give_back(self, connection: object) -> None:
        """It goes back; told before it does, for the next may have it at once."""
        checkout = self.held.pop(id(connection), None)
        if checkout is not None and checkout.work is not None:
            checkout.work.held.pop(id(connection), None)

    def look(self, leak_after: float) -> list[dict[str, Any]]:
        """Find leaks; returns those that stay, and what others hold for long, the oldest first."""
        self.reclaim()
        found = []
        for checkout in list(self.held.values()):
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
        for checkout in list(self.held.values()):
            with rescued(NAME):
                if checkout.is_gone:
                    self.give_back(checkout.connection)
                elif checkout.is_abandoned():
                    self.force(checkout)

    def forget(self) -> None:
        """Start again: a child has no connection of its parent's."""
        self.held.clear()

    def force(self, checkout: Checkout) -> None:
        """Give back what nobody uses; its leak is told.

        Not what somebody else has given back meanwhile, or is at: it may be lent again by then.
        """
        if self.held.get(id(checkout.connection)) is not checkout:
            return
        self.give_back(checkout.connection)
        tell(checkout)
        buffer.count(FORCED, checkout.key)
        checkout.put_back()


def leave(wrapper: BaseDatabaseWrapper, work: Watch) -> None:
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
    """Be told when requests end."""
    request_finished.connect(ended, dispatch_uid="performance.leaks")


def ended(**_: object) -> None:
    """Its answer is sent: what it still holds goes back, as far as that harms nobody."""
    work = working.get()
    if work is None:
        return
    working.set(None)
    work.is_over = True
    # Seldom is there anything left to do.
    for wrapper in work.wrappers:
        if wrapper.connection is not None or wrapper.in_atomic_block:
            with rescued(NAME):
                leave(wrapper, work)
    for checkout in list(work.held.values()):
        with rescued(NAME):
            if checkout.is_abandoned():
                checkouts.force(checkout)
