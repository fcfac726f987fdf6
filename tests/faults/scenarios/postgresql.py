"""PostgreSQL crashes, loses its sessions or stops answering, under load."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.faults.load import EXPECTED, Load
from tests.faults.processes import until
from tests.faults.scenarios.row import Times, row

if TYPE_CHECKING:
    from tests.faults.rig import Rig

RECOVERED = 30.0
LONGEST_WAIT = 6.0
CLIENTS = 2


def check_answers(load: Load) -> None:
    """Accepted, or to be tried again: nothing else was answered."""
    assert set(load.answers) <= EXPECTED, load.answers
    assert not load.wrong, load.wrong[:5]


def probes_tell(rig: Rig) -> None:
    """Readiness fails and liveness does not."""
    until(lambda: rig.client.get("/health/ready").status_code == 503, "readiness fails")
    assert rig.client.get("/health/live").status_code == 200


@row("PostgreSQL immediate stop and start", "under load")
def crash(rig: Rig) -> Times:
    """The probes tell; work goes on when it is back."""
    rig.fleet.worker()
    with Load(rig) as load:
        load.accepts(RECOVERED)
        rig.postgres.stop(signal.SIGQUIT)
        probes_tell(rig)
        started = time.monotonic()
        rig.postgres.start()
        up = time.monotonic()
        accepted = load.accepts(RECOVERED)
        job = rig.client.submit()
        until(lambda: rig.jobs.state(job) == "succeeded", "a new job has succeeded", RECOVERED)
        scraped = time.monotonic() - up
    check_answers(load)
    return {"PostgreSQL's own": up - started, "accepts": accepted, "scrapes": scraped}


@row("all backends terminated once a second", "under load")
def sessions_end(rig: Rig) -> Times:
    """Every pooled connection dies over and over."""
    rig.fleet.worker()
    with Load(rig) as load:
        for _ in range(30 if rig.full else 3):
            until(rig.postgres.terminate_backends, "there are sessions to end")
            time.sleep(1)
        up = time.monotonic()
        accepted = load.accepts(RECOVERED)
        job = rig.client.submit()
        until(lambda: rig.jobs.state(job) == "succeeded", "a new job has succeeded", RECOVERED)
        scraped = time.monotonic() - up
    check_answers(load)
    return {"accepts": accepted, "scrapes": scraped}


@row("SIGSTOP PostgreSQL", "under load")
def hangs(rig: Rig) -> Times:
    """Connections stay open and nothing answers: requests wait for a bounded time, then 503.

    Those amid a transaction too, which must not wait once more at its end.
    """
    rig.fleet.worker()
    with Load(rig, clients=CLIENTS) as load:
        load.accepts(RECOVERED)
        with rig.postgres.gate("jobs_job"):
            until(rig.postgres.held_at_gate, "a submission is amid its transaction")
            rig.postgres.pause()
            probes_tell(rig)
            if rig.full:
                time.sleep(60)
            else:
                until(lambda: load.answers[503] > 2 * CLIENTS, "every client is told to try again")
            rig.postgres.resume()
        accepted = load.accepts(RECOVERED)
    assert load.longest < LONGEST_WAIT, f"a request waited for {load.longest:.1f} s"
    assert load.answers[503] > 0, load.answers
    check_answers(load)
    return {"accepts": accepted, "longest wait": load.longest}
