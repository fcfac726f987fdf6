"""Valkey fails in every way it can; it is disposable, so nobody notices."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from tests.faults.load import Load
from tests.faults.processes import until
from tests.faults.scenarios.postgresql import check_answers
from tests.faults.scenarios.row import Times, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.link import Fault
    from tests.faults.rig import Rig

LONGEST_WAIT = 5.0


def unnoticed(rig: Rig, *faults: Callable[[], object]) -> Times:
    """Jobs are accepted, run and read at once, before, during and after each of these."""
    rig.fleet.worker()
    with Load(rig, rate=40) as load:
        load.accepts(LONGEST_WAIT)
        for fault in faults:
            fault()
            for _ in range(10):
                load.accepts(LONGEST_WAIT)
    check_answers(load)
    assert load.answers[503] == 0, load.answers
    return {"longest wait": load.longest}


@row("Valkey", "kill -9")
def killed(rig: Rig) -> Times:
    """Gone, and empty when it is back."""
    return unnoticed(rig, rig.valkey.kill, rig.valkey.start)


@row("Valkey", "FLUSHALL")
def flushed(rig: Rig) -> Times:
    """Everything forgotten."""
    return unnoticed(rig, lambda: rig.valkey.ask("FLUSHALL"))


@row("Valkey", "SIGSTOP")
def hangs(rig: Rig) -> Times:
    """Connections stay open and nothing answers."""
    return unnoticed(rig, rig.valkey.pause, rig.valkey.resume)


@row("Valkey", "garbage values")
def garbage(rig: Rig) -> Times:
    """Every value is another one, also of another type."""

    def spoil() -> int:
        with rig.valkey.client() as client:
            keys = list(client.scan_iter())
            for number, key in enumerate(keys):
                client.delete(key)
                if number % 3:
                    client.set(key, os.urandom(100))
                else:
                    client.rpush(key, "garbage")
        return len(keys)

    return unnoticed(rig, lambda: until(spoil, "there is something to spoil"))


@row("Valkey", "garbage and half answers on the wire")
def broken_answers(rig: Rig) -> Times:
    """What arrives is no protocol at all."""
    faults: tuple[Fault, ...] = ("garbage", "truncate", "half_close", "reset")
    breaks = (partial(rig.cache.break_links, fault) for fault in faults)
    return unnoticed(rig, *(partial(until, one, "there is a link to break") for one in breaks))
