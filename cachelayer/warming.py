"""Filling the cache before anybody asks: at a process's start, or by `manage.py warmcache`."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

Warmer = "Callable[[], Iterator[Callable[[], object]]]"


@dataclass(frozen=True, slots=True)
class Registered:
    """A warmer: calling `loads` gives the calls that each put one value into the cache."""

    name: str
    loads: Callable[[], Iterator[Callable[[], object]]]
    at_start: bool


_warmers: dict[str, Registered] = {}


def warmer(
    name: str, *, at_start: bool = False
) -> Callable[
    [Callable[[], Iterator[Callable[[], object]]]], Callable[[], Iterator[Callable[[], object]]]
]:
    """Register a generator function that yields cached calls to make."""

    def register(
        loads: Callable[[], Iterator[Callable[[], object]]],
    ) -> Callable[[], Iterator[Callable[[], object]]]:
        _warmers[name] = Registered(name, loads, at_start)
        return loads

    return register


def warmers() -> list[Registered]:
    """All that are registered, by name."""
    return [_warmers[name] for name in sorted(_warmers)]


def warm(one: Registered, progress: Callable[[], object] = lambda: None) -> tuple[int, int]:
    """Run a warmer; returns how many values were loaded and how many failed."""
    loaded = failed = 0
    for load in one.loads():
        try:
            load()
            loaded += 1
        except Exception:
            failed += 1
            logger.exception("warmer %s: a value could not be loaded", one.name)
        progress()
    return loaded, failed


def warm_at_start() -> None:
    """Run the warmers of the start in the background; the process serves meanwhile."""

    def run() -> None:
        try:
            for one in warmers():
                if one.at_start:
                    warm(one)
        except Exception:
            logger.exception("the cache could not be warmed")
        finally:
            connections.close_all()

    threading.Thread(target=run, name="cache-warming", daemon=True).start()
