"""Outgoing fetches by host: how many, how long, what the time went to, and how they fail."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from heapq import nlargest
from time import perf_counter
from typing import TYPE_CHECKING

from performance.recording.buffer import OTHER
from performance.recording.process import buffer, governor
from performance.recording.rescue import rescued

if TYPE_CHECKING:
    from jobs.engine.batcher import Outcome
    from jobs.engine.repository import Claim

NAME = "fetch"
# Of the fetch itself, in order (`jobs.fetching.phases`), and then the rest of the attempt.
FETCHING = ("wait", "dns", "connect", "tls", "first_byte", "download")
PARTS = (*FETCHING, "parse")
_FETCHING = frozenset(FETCHING)
# Told by name each time, and with their phases: those that take most. The others count together,
# since each name becomes a dozen rows of every digest.
MOST_HOSTS = 50
MOST_WITH_PHASES = 20
# What a failure weighs in that, in milliseconds: most fail at once.
FAILURE = 1000.0
# Kept until they are told.
MOST_GATHERED = 2000


@dataclass(slots=True)
class HostWork:
    """What attempts at a host came to since it was told; times in milliseconds.

    `fetches` are the times of each, `unfetched` is how many attempts failed without any. Errors are
    counted by code and whether the job has failed with it for good.
    """

    attempts: int = 0
    fetches: list[float] = field(default_factory=list)
    unfetched: int = 0
    phases: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    errors: Counter[tuple[str, bool]] = field(default_factory=Counter)

    @property
    def weight(self) -> float:
        """How much it is worth a name of its own."""
        return sum(self.fetches) + FAILURE * self.errors.total()

    def merge(self, other: HostWork) -> None:
        """Take in what another has gathered."""
        self.attempts += other.attempts
        self.fetches += other.fetches
        self.unfetched += other.unfetched
        self.errors += other.errors
        for phase, milliseconds in other.phases.items():
            self.phases[phase] += milliseconds


class Fetches:
    """Gathers by host what the attempts of this process tell, and records it every other second.

    To record each phase of each attempt at once would cost more than all the rest.
    """

    name = NAME
    every = 2.0

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._hosts: dict[str, HostWork] = {}

    def ended(self, claim: Claim, outcome: Outcome | None, **_: object) -> None:
        """Receives `jobs.signals.attempt_ended`."""
        if outcome is None or outcome.phases is None:
            return
        began = perf_counter()
        with rescued(NAME):
            work = self._hosts.get(claim.host) or self._new(claim.host)
            work.attempts += 1
            phases, took = work.phases, 0.0
            for phase, milliseconds in outcome.phases.milliseconds.items():
                phases[phase] += milliseconds
                if phase in _FETCHING:
                    took += milliseconds
            if took:
                work.fetches.append(took)
            if outcome.error is not None:
                work.errors[outcome.error.code, outcome.state == "failed"] += 1
                # Without any, robots.txt or an address was in the way of it.
                work.unfetched += not took
        governor.spent += perf_counter() - began

    def sample(self) -> None:
        """Record what was gathered."""
        hosts, self._hosts = self._hosts, {}
        named = nlargest(MOST_HOSTS, hosts, lambda host: hosts[host].weight)
        everything = HostWork()
        for number, host in enumerate(named):
            work = hosts.pop(host)
            record(host, work, with_phases=number < MOST_WITH_PHASES)
            everything.merge(work)
        others = HostWork()
        for work in hosts.values():
            others.merge(work)
        record(OTHER, others, with_phases=False)
        everything.merge(others)
        record_all(everything)

    def _new(self, host: str) -> HostWork:
        if len(self._hosts) >= MOST_GATHERED:
            host = OTHER
        return self._hosts.setdefault(host, HostWork())


def record(host: str, work: HostWork, *, with_phases: bool) -> None:
    """What became of a host's attempts."""
    for milliseconds in work.fetches:
        buffer.record(NAME, host, milliseconds)
    for phase in PARTS if with_phases else ():
        buffer.count(f"{NAME}.{phase}", host, work.attempts, work.phases[phase])
    if work.errors:
        buffer.count(f"{NAME}.failed", host, work.errors.total())
    if work.unfetched:
        buffer.count(f"{NAME}.unfetched", host, work.unfetched)
    for (code, _), number in work.errors.items():
        buffer.count(f"{NAME}.error", f"{host} {code}", number)


def record_all(work: HostWork) -> None:
    """What became of all attempts, and where their time went."""
    for milliseconds in work.fetches:
        buffer.record("attempt.fetch", "", milliseconds)
    for phase, milliseconds in work.phases.items():
        buffer.count("attempt.phase", phase, work.attempts, milliseconds)
    for (code, is_over), number in work.errors.items():
        buffer.count("attempt.error", code, number, number * is_over)
