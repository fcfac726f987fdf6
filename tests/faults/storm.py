"""Continuous load with one random fault after the other, then quiet, then the invariants."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.evidence import Evidence, Violation
from tests.faults.invariants import ALWAYS, violations
from tests.faults.jobs import RECLAIMED
from tests.faults.load import Load
from tests.faults.matrix import violations_when_idle
from tests.faults.processes import until
from tests.faults.rig import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.link import Fault
    from tests.faults.processes import Process
    from tests.faults.proxy import Proxy
    from tests.faults.rig import Rig

WORKERS = 3
WEBS = 2
CLIENTS = 4
QUIET = 120.0
SAMPLED = 5.0
# Of a hundred faults. The kills are those that end processes.
KILLS = {"worker": 62, "web": 14, "valkey": 4, "postgresql": 3}
OTHERS = {
    "pause": 4,
    "sessions": 3,
    "worker links": 3,
    "web links": 3,
    "flush": 1,
    "cache links": 1,
    "slow links": 1,
    "stalled links": 1,
}


@dataclass
class Storm:
    """One run; `plan` gives the same faults in the same order for the same seed."""

    rig: Rig
    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    killed_at: list[tuple[int, float]] = field(default_factory=list)
    restarted_at: list[float] = field(default_factory=list)
    found: dict[str, Violation] = field(default_factory=dict)
    died: Counter[str] = field(default_factory=Counter)
    _paused: list[tuple[float, Process]] = field(default_factory=list)

    def run(self, *, duration: float, jobs: int, kills: int, report: Callable[[str], None]) -> Load:
        """Until `duration` is over and there were as many jobs and kills, twice as long at most."""
        for _ in range(WORKERS):
            self.rig.fleet.start_worker()
        while len(self.rig.fleet.webs) < WEBS:
            self.rig.fleet.start_web()
        share = sum(KILLS.values()) / (sum(KILLS.values()) + sum(OTHERS.values()))
        interval = 0.9 * duration * share / kills
        started = next_sample = next_report = time.monotonic()
        faults = plan(self.seed)
        with Load(self.rig, clients=CLIENTS, rate=1.2 * jobs / duration, seed=self.seed) as load:
            while True:
                elapsed = time.monotonic() - started
                is_done = load.accepted >= jobs and self.kills.total() >= kills
                if elapsed > 2 * duration or (elapsed > duration and is_done):
                    break
                if time.monotonic() > next_report:
                    report(
                        f"{elapsed:5.0f} s  {load.accepted} accepted  {self.kills.total()} kills"
                    )
                    next_report += 10
                if time.monotonic() > next_sample:
                    self._sample()
                    next_sample += SAMPLED
                kind, chance, pause = next(faults)
                self._wait(interval * pause)
                self._strike(kind, chance)
        return load

    def quieten(self) -> list[Violation]:
        """End every fault, wait for the last job, and ask for contradictions.

        Raises AssertionError when the service does not become idle.
        """
        self.rig.mend()
        for _, worker in self._paused:
            worker.resume()
        self._tend()
        until(lambda: len(self.rig.fleet.ready_workers()) == WORKERS, "all workers are ready")
        self.rig.jobs.wait_for_all(QUIET)
        self.rig.jobs.wait_until_told()
        self.rig.fleet.end_workers()
        return [*self.found.values(), *violations_when_idle(self.rig, LEASE)]

    def _wait(self, seconds: float) -> None:
        """Let time pass, in which the dead are replaced and the paused go on."""
        deadline = time.monotonic() + seconds
        while True:
            self._tend()
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)

    def _tend(self) -> None:
        now = time.monotonic()
        for moment, worker in self._paused:
            if now > moment and worker.is_alive:
                worker.resume()
        self._paused = [(moment, worker) for moment, worker in self._paused if now <= moment]
        self._bury()
        while len(self.rig.fleet.workers) < WORKERS:
            self.rig.fleet.start_worker(wait=False)
        while len(self.rig.fleet.webs) < WEBS:
            self.rig.fleet.start_web(wait=False)
        self.rig.fleet.welcome()

    def _bury(self) -> None:
        """Forget the dead, and count those that nobody has killed."""
        fleet, killed = self.rig.fleet, {pid for pid, _ in self.killed_at}
        self.died["worker"] += sum(
            not worker.is_alive and worker.pid not in killed for worker in fleet.workers
        )
        fleet.workers = [worker for worker in fleet.workers if worker.is_alive]
        for web in [web for web in fleet.webs if not web.is_alive]:
            self.died["web"] += 1
            fleet.kill_web(web)

    def _strike(self, kind: str, chance: float) -> None:
        """One fault; what is not there to be hit is spared."""
        if kind in KILLS:
            self.kills[kind] += getattr(self, f"_kill_{kind}")(chance)
        else:
            self.others[kind] += getattr(self, f"_do_{kind.replace(' ', '_')}")(chance)

    def _kill_worker(self, chance: float) -> int:
        ready = self.rig.fleet.ready_workers()
        if not ready:
            return 0
        victim = ready[int(chance * len(ready))]
        self.killed_at.append((victim.pid, time.time()))
        victim.kill()
        return 1

    def _kill_web(self, chance: float) -> int:
        serving = list(self.rig.fleet.serving)
        if not serving:
            return 0
        self.rig.fleet.kill_web(serving[int(chance * len(serving))])
        return 1

    def _kill_valkey(self, chance: float) -> int:
        self.rig.valkey.kill()
        self._wait(chance)
        self.rig.valkey.start()
        return 1

    def _kill_postgresql(self, chance: float) -> int:
        self.rig.postgres.stop(signal.SIGQUIT)
        self._wait(chance)
        self.rig.postgres.start()
        self.restarted_at.append(time.monotonic())
        return 1

    def _do_pause(self, chance: float) -> int:
        ready = self.rig.fleet.ready_workers()
        if not ready:
            return 0
        sleeper = ready[int(chance * len(ready))]
        sleeper.pause()
        self._paused.append((time.monotonic() + 3 * LEASE * chance, sleeper))
        return 1

    def _do_sessions(self, _chance: float) -> int:
        return int(self.rig.postgres.terminate_backends() > 0)

    def _do_worker_links(self, chance: float) -> int:
        return self._break(self.rig.worker_database, ("reset", "truncate"), chance)

    def _do_web_links(self, chance: float) -> int:
        return self._break(self.rig.web_database, ("reset", "half_close"), chance)

    def _do_cache_links(self, chance: float) -> int:
        return self._break(self.rig.cache, ("reset", "garbage"), chance)

    def _do_flush(self, _chance: float) -> int:
        self.rig.valkey.ask("FLUSHALL")
        return 1

    def _do_slow_links(self, chance: float) -> int:
        self.rig.worker_database.delay = self.rig.web_database.delay = chance / 2
        return self._wait_and_flow(2)

    def _do_stalled_links(self, chance: float) -> int:
        self.rig.worker_database.stall()
        self.rig.web_database.stall()
        return self._wait_and_flow(LEASE * chance)

    def _wait_and_flow(self, seconds: float) -> int:
        self._wait(seconds)
        self.rig.worker_database.flow()
        self.rig.web_database.flow()
        return 1

    def _break(self, proxy: Proxy, faults: tuple[Fault, Fault], chance: float) -> int:
        return int(proxy.break_links(faults[int(2 * chance)]) > 0)

    def _sample(self) -> None:
        evidence = Evidence(self.rig, LEASE, sweep=RECLAIMED)
        for violation in violations(evidence, ALWAYS):
            self.found.setdefault(violation.invariant, violation)


def plan(seed: int) -> Iterator[tuple[str, float, float]]:
    """For ever: a fault, a chance from 0 to 1 that chooses its victim and length, and a pause."""
    chance = random.Random(seed)
    weights = KILLS | OTHERS
    while True:
        (kind,) = chance.choices(list(weights), list(weights.values()))
        yield kind, chance.random(), chance.uniform(0.5, 1.5)
