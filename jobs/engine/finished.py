"""Tells waiting requests that a job has ended, without a database connection for each of them.

One connection a process listens for the notification that the result's own transaction sends. A
waiter is woken by it, or whenever the listener has to reconnect and may have missed one; it then
reads the job itself. Threads and events are greenlets in a web process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from django.db import connection
from psycopg import sql

from jobs.engine.statements import FINISHED_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

logger = logging.getLogger(__name__)

RECONNECT_DELAY = 1.0


class FinishedListener:
    """Wakes the waiters of a job when it becomes terminal."""

    def __init__(self) -> None:
        """Starts listening at the first wait."""
        self._waiters: defaultdict[UUID, set[threading.Event]] = defaultdict(set)
        self._lock = threading.Lock()
        self._listening = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def waiting_for(self, job_id: UUID) -> Iterator[threading.Event]:
        """An event that is set when the job may have ended.

        Read the job after entering and after every wake: the event alone proves nothing.
        """
        self._ensure_listening()
        event = threading.Event()
        with self._lock:
            self._waiters[job_id].add(event)
        try:
            yield event
        finally:
            with self._lock:
                self._waiters[job_id].discard(event)
                if not self._waiters[job_id]:
                    del self._waiters[job_id]

    def _ensure_listening(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="finished", daemon=True)
                self._thread.start()
        self._listening.wait(timeout=RECONNECT_DELAY)

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except psycopg.Error as error:
                logger.warning("listening for finished jobs was interrupted: %s", error)
            self._listening.clear()
            time.sleep(RECONNECT_DELAY)

    def _listen(self) -> None:
        with psycopg.connect(**connect_arguments(), autocommit=True) as listener:
            listener.execute(sql.SQL("LISTEN {}").format(sql.Identifier(FINISHED_CHANNEL)))
            self._listening.set()
            self._wake_all()
            for notification in listener.notifies():
                self._wake(named(notification.payload))

    def _wake(self, job_ids: Iterable[UUID]) -> None:
        with self._lock:
            for job_id in job_ids:
                for event in self._waiters.get(job_id, ()):
                    event.set()

    def _wake_all(self) -> None:
        with self._lock:
            for events in self._waiters.values():
                for event in events:
                    event.set()


def named(payload: str) -> list[UUID]:
    """The jobs that a notification names: none, when it is not the service's own."""
    try:
        return [UUID(text) for text in payload.split(",")]
    except ValueError:
        logger.warning("%s has a notification that names no jobs", FINISHED_CHANNEL)
        return []


def connect_arguments() -> dict[str, Any]:
    """Django's own connection arguments, for a connection outside its pool."""
    arguments = connection.get_connection_params()
    keep = ("host", "port", "user", "password", "dbname", "sslmode", "application_name", "options")
    return {key: arguments[key] for key in keep if arguments.get(key)}


@cache
def finished_listener() -> FinishedListener:
    """The process's listener."""
    return FinishedListener()
