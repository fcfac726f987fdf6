"""Commands of `manage.py`: what they ask PostgreSQL for, and which queries they repeat."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from performance.conf import performance_settings
from performance.recorders import nplusone
from performance.recording.observer import Observer
from performance.recording.process import buffer, governor
from performance.recording.rescue import rescued
from performance.recording.stream import fleet_stream
from performance.recording.watch import Watch, current

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "command"


@contextmanager
def watched(command: str) -> Iterator[None]:
    """Judge what is asked inside as a request is judged, and tell it before the process ends.

    What has asked for nothing tells nothing, and needs no Valkey.
    """
    watch = Watch()
    token = current.set(watch)
    try:
        yield
    finally:
        current.reset(token)
        with rescued(NAME):
            if watch.queries:
                nplusone.record(f"{NAME} {command}", watch)
                # No thread: a command is short, and its process has nothing else to tell of.
                instance = performance_settings().instance
                Observer(instance, buffer, fleet_stream(), (), governor).finish()
