"""Filling the cache before anybody asks: at a process's start, or by `manage.py warmcache`."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Loads: TypeAlias = Callable[[], Iterator[Callable[[], object]]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registered:
    """A warmer: calling `loads` gives the calls that each put one value into the cache."""

    name: str
    loads: Loads
    at_start: bool


_warmers: dict[str, Registered] = {}


def warmer(name: str, *, at_start: bool = False) -> Callable[[Loads], Loads]:
    """Register a generator function that yields cached calls to make."""

    def register(loads: Loads) -> Loads:
        _warmers[name] = Registered(name, loads, at_start)
        return loads

    return register


def warmers() -> list[Registered]:
    """All that are registered, by name."""
    return [_warmers[name] for name in sorted(_warmers)]


def warm(one: Registered, progress: Callable[[], object] = lambda: None) -> tuple[int, int]:
    """Run a warmer; returns how many values were loaded and how many failed.

    A warmer that fails itself counts as one more failure, and ends.
    """
    loaded = failed = 0
    try:
        for load in one.loads():
            if _succeeds(load, one.name):
                loaded += 1
            else:
                failed += 1
            progress()
    except Exception:  # an application's code: it must stop neither the others nor the process
        failed += 1
        logger.exception("warmer %s: it does not know what to load", one.name)
    return loaded, failed


def _succeeds(load: Callable[[], object], name: str) -> bool:
    try:
        load()
    except Exception:  # whatever a loader raises
        logger.exception("warmer %s: a value could not be loaded", name)
        return False
    return True


def warm_at_start() -> threading.Thread:
    """Run the warmers of the start in the background; the process serves meanwhile."""

    def run() -> None:
        try:
            for one in warmers():
                if one.at_start:
                    warm(one)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name="cache-warming", daemon=True)
    thread.start()
    return thread
