"""Duties of the fleet: how long they take, and which queries they repeat."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import NamedTuple

from jobs.signals import duty_began, duty_ended
from performance.recorders import nplusone
from performance.recording.process import buffer
from performance.recording.rescue import rescued
from performance.recording.watch import Watch, current

NAME = "duty"


class Running(NamedTuple):
    """The duty that this thread is at."""

    watch: Watch
    token: Token[Watch | None]


_running: ContextVar[Running | None] = ContextVar("duty", default=None)


def connect() -> None:
    """Watch every duty from now on."""
    duty_began.connect(began, dispatch_uid="performance.duties")
    duty_ended.connect(ended, dispatch_uid="performance.duties")


def began(**_: object) -> None:
    """Have its queries add to a watch of its own."""
    watch = Watch()
    _running.set(Running(watch, current.set(watch)))


def ended(duty: str, **_: object) -> None:
    """Judge it as a request is judged."""
    running = _running.get()
    if running is None:
        return
    _running.set(None)
    current.reset(running.token)
    with rescued(NAME):
        buffer.record(NAME, duty, running.watch.elapsed)
        nplusone.record(f"{NAME} {duty}", running.watch)
