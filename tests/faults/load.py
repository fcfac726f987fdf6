"""Clients that submit and read without pause, and what they were answered."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import requests

from tests.faults.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.rig import Rig

TERMINAL = {"succeeded", "failed", "cancelled"}
# What may be answered: accepted, read, "the same request is under way", "try again".
EXPECTED = {202, 200, 409, 503}
TRIES = 3
AGAIN = 1.0
BATCH = 20
BATCHES = 0.1
"""The share of submissions that are batches of that size."""
STALE = 3.0
"""Seconds for which a cached answer may be older than another server's."""


class Load:
    """Several clients, each a thread, each with a random number generator of its own.

    `rate` is jobs a second of all together. A context manager: they stop at its end.
    """

    def __init__(self, rig: Rig, *, clients: int = 2, rate: float = 20.0, seed: int = 0) -> None:
        self.answers: Counter[int] = Counter()
        self.accepted = 0
        self.accepted_at: list[float] = []
        self.longest = 0.0
        self.wrong: list[str] = []
        self._rig = rig
        self._pause = clients * (1 - BATCHES + BATCHES * BATCH) / rate
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._ended: dict[str, tuple[str, float]] = {}
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(f"{seed}/{n}"),), daemon=True)
            for n in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def accepts(self, seconds: float) -> float:
        """Wait until a job is accepted; how long that took."""
        started, before = time.monotonic(), self.accepted
        until(lambda: self.accepted > before, "a job is accepted", seconds)
        return time.monotonic() - started

    def _run(self, chance: random.Random) -> None:
        jobs: list[str] = []
        while not self._stop.wait(self._pause * chance.uniform(0.5, 1.5)):
            delay = round(chance.uniform(0, 0.2), 3)
            is_batch = chance.random() < BATCHES
            jobs += self._submit_batch(delay) if is_batch else self._submit(delay)
            if jobs:
                self._read(chance.choice(jobs))

    def _submit(self, delay: float) -> list[str]:
        """Submit a job; what was not accepted is asked for again with the same key."""
        tag = self._rig.client.tag()
        for _ in range(TRIES):
            answer = self._ask(lambda: self._rig.client.post(tag, key=tag, delay=delay))
            if answer is not None and answer.status_code == 202:
                self._accept(1)
                return [answer.json()["id"]]
            if self._stop.wait(AGAIN):
                break
        return []

    def _submit_batch(self, delay: float) -> list[str]:
        tags = [self._rig.client.tag() for _ in range(BATCH)]
        answer = self._ask(lambda: self._rig.client.post_batch(tags, delay=delay))
        if answer is None or answer.status_code != 202:
            return []
        self._accept(BATCH)
        return list(answer.json()["jobs"])

    def _ask(self, request: Callable[[], requests.Response]) -> requests.Response | None:
        """The answer, counted and timed; None without one."""
        started = time.monotonic()
        answer = None
        with suppress(requests.RequestException):
            answer = request()
        with self._lock:
            self.longest = max(self.longest, time.monotonic() - started)
            if answer is not None:
                self.answers[answer.status_code] += 1
        return answer

    def _accept(self, jobs: int) -> None:
        with self._lock:
            self.accepted += jobs
            self.accepted_at.append(time.monotonic())

    def _read(self, job: str) -> None:
        """Read one of one's own jobs: it is there, and what has ended has ended for ever."""
        answer = self._ask(lambda: self._rig.client.get(f"/api/v1/jobs/{job}"))
        if answer is None or answer.status_code == 503:
            return
        if answer.status_code != 200:
            self.wrong.append(f"{job}: {answer.status_code} {answer.text[:200]}")
            return
        status, now = answer.json()["status"], time.monotonic()
        ended, since = self._ended.get(job, (status, now))
        if status != ended and now > since + STALE:
            self.wrong.append(f"{job}: {ended}, {now - since:.1f} s later {status}")
        if status in TERMINAL:
            self._ended.setdefault(job, (status, now))
