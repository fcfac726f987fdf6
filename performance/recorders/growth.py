"""Leak suspects: where the memory of a process that grows and grows was allocated.

Tracing makes a process several times slower. So one process of the fleet does it at a time, for
half a minute in half an hour at most, for less when it is busy, and none whose watching costs too
much already.
"""

from __future__ import annotations

import logging
import tracemalloc
from _tracemalloc import _get_traces
from collections import Counter
from dataclasses import dataclass
from time import perf_counter, process_time, sleep
from typing import TYPE_CHECKING, NamedTuple, cast

from cachelayer.remote import Unavailable
from performance.models import Kind
from performance.recording.places import origin, place
from performance.recording.process import buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cachelayer.remote import Remote
    from performance.recording.governor import Governor
    from performance.recording.places import Place

logger = logging.getLogger(__name__)

NAME: str = Kind.MEMORY_GROWTH.value
# Readings with too steep a slope in a row, and bytes, before anything is done.
STEEP_READINGS = 6
GROWN_BY = 20 * 1024 * 1024
# Seconds after which the first and the second snapshot are taken; between them it must grow.
FIRST_AFTER, SECOND_AFTER = 10.0, 30.0
# Seconds in which nobody else traces, and in which this process does not again.
TURN, REST = 120, 1800.0
# How much of each stack is kept: the more, the dearer.
FRAMES = 6
# A process that uses more of a core, and traces of more bytes, are not traced for longer.
BUSY = 0.8
ENOUGH = 8 * 1024 * 1024
# Traces that are counted without letting others run.
AT_ONCE = 5_000
# Bytes between the snapshots; less is noise. Of more places the largest.
LEAST = 64 * 1024
MOST_SUSPECTS = 5
# Bytes that a process grew by while it was traced, of which Python's objects explain a tenth.
UNEXPLAINED = 1024 * 1024
OUTSIDE = "(outside Python)"


# A domain, bytes, the stack with the innermost line first, and how deep it really was.
Trace = tuple[int, int, "Stack", int]
Stack = tuple[tuple[str, int], ...]


class Held(NamedTuple):
    """What is held of the allocations of one stack."""

    size: int
    objects: int


@dataclass(slots=True)
class Tracing:
    """It runs since `began`, with `size` bytes then; `dearer` is the share of time it takes.

    `at` and `cpu` are when it was last looked at, and the processor time (seconds) then.
    """

    began: float
    size: int
    dearer: float
    at: float
    cpu: float
    first: Sequence[Trace] | None = None
    first_at: float = 0.0


class GrowthFinder:
    """Hears of every reading of a process's memory and traces when it grows suspiciously.

    `slope` is in bytes an hour. `remote` and `key` see to it that one process traces at a time.
    """

    def __init__(self, remote: Remote, key: str, governor: Governor, slope: float) -> None:
        """Nothing is traced yet."""
        self._remote = remote
        self._key = key
        self._governor = governor
        self._steepest = slope
        self._lowest: int | None = None
        self._steep = 0
        self._rests_until = 0.0
        self._tracing: Tracing | None = None

    def grown(self, size: int) -> int:
        """Bytes above the least that the process had since its slope is known."""
        return max(size - (self._lowest or size), 0)

    @property
    def is_tracing(self) -> bool:
        """Whether it traces now."""
        return self._tracing is not None

    def look(self, now: float, size: int, slope: float | None) -> None:
        """A reading: seconds, bytes, and bytes an hour as far as they are known."""
        if self._tracing is not None:
            self._go_on(self._tracing, now, size)
        elif self._is_suspicious(size, slope) and now >= self._rests_until and self._may_trace():
            self._rests_until = now + REST
            self._tracing = start_tracing(now, size)
            logger.info("memory grew by %d MiB: tracing it", self.grown(size) >> 20)

    def _is_suspicious(self, size: int, slope: float | None) -> bool:
        if slope is None:
            # What a process takes at its start is not what it loses.
            return False
        self._lowest = min(size, self._lowest if self._lowest is not None else size)
        self._steep = self._steep + 1 if slope > self._steepest else 0
        return self._steep >= STEEP_READINGS and self.grown(size) >= GROWN_BY

    def _may_trace(self) -> bool:
        if self._governor.share > self._governor.most or tracemalloc.is_tracing():
            return False
        try:
            reply = self._remote.call(("SET", self._key, "tracing", "NX", "EX", TURN))[0]
        except Unavailable:
            return False
        return reply is not None and not isinstance(reply, Exception)

    def _go_on(self, tracing: Tracing, now: float, size: int) -> None:
        cpu = process_time()
        used, since = cpu - tracing.cpu, now - tracing.at
        tracing.cpu, tracing.at = cpu, now
        self._governor.spent += used * tracing.dearer
        passed = now - tracing.began
        is_enough = used > BUSY * since or tracemalloc.get_tracemalloc_memory() > ENOUGH
        if tracing.first is None:
            if is_enough or passed >= FIRST_AFTER:
                tracing.first, tracing.first_at = traces_now(), now
        elif is_enough or passed >= SECOND_AFTER:
            self._finish(tracing, tracing.first, now, size)

    def _finish(self, tracing: Tracing, first: Sequence[Trace], now: float, size: int) -> None:
        try:
            second = traces_now()
        finally:
            tracemalloc.stop()
            self._tracing, self._steep, self._lowest = None, 0, size
        grown = difference(grouped(first), grouped(second))
        report(grown, seconds=now - tracing.first_at, process=size - tracing.size)


def start_tracing(now: float, size: int) -> Tracing:
    """Trace from now on; how much slower that makes the process is measured at once."""
    plain = _seconds(_allocate)
    tracemalloc.start(FRAMES)
    traced = _seconds(_allocate)
    return Tracing(now, size, max(1 - plain / traced, 0.0), now, process_time())


def traces_now() -> Sequence[Trace]:
    """A trace for everything that was allocated since tracing began, and is held."""
    return cast("Sequence[Trace]", _get_traces())


def grouped(traces: Sequence[Trace]) -> dict[Stack, Held]:
    """What each stack holds. Traces of one stack share it, which is much faster than comparing."""
    sizes: Counter[int] = Counter()
    objects: Counter[int] = Counter()
    stacks: dict[int, Stack] = {}
    for begin in range(0, len(traces), AT_ONCE):
        for _, size, stack, _ in traces[begin : begin + AT_ONCE]:
            known = id(stack)
            sizes[known] += size
            objects[known] += 1
            stacks[known] = stack
        sleep(0)
    return {stack: Held(sizes[known], objects[known]) for known, stack in stacks.items()}


def difference(before: dict[Stack, Held], after: dict[Stack, Held]) -> dict[Stack, Held]:
    """By how much more each stack holds."""
    nothing = Held(0, 0)
    return {
        stack: Held(held.size - known.size, held.objects - known.objects)
        for stack, held in after.items()
        for known in (before.get(stack, nothing),)
    }


def report(grown: dict[Stack, Held], *, seconds: float, process: int) -> None:
    """Record where memory came from that was taken in so many seconds and not given back.

    `process` is by how many bytes the whole process grew since tracing began.
    """
    suspects = suspects_of(grown)
    for where, held, stack in suspects:
        document = {
            "file": where.file, "line": where.line, "bytes": held.size, "objects": held.objects,
            "seconds": seconds, "process": process, "stack": stack,
        }  # fmt: skip
        _tell(f"{where.file}:{where.line}", held.size, document)
    if process >= UNEXPLAINED and sum(held.size for _, held, _ in suspects) < process / 10:
        about = "It grew, but not by Python's objects: a C extension, or fragmented memory."
        _tell(OUTSIDE, process, {"file": "", "line": None, "bytes": process, "about": about})


def suspects_of(grown: dict[Stack, Held]) -> list[tuple[Place, Held, list[str]]]:
    """The places that grew most, by how much, and the stack that did most of it."""
    found: dict[Place, Held] = {}
    largest: dict[Place, tuple[int, list[Place]]] = {}
    for lines, held in grown.items():
        stack = [place(file, line) for file, line in lines]
        where = origin(stack)
        if where is None or lines[0][0] in (__file__, tracemalloc.__file__):
            continue
        known = found.get(where, Held(0, 0))
        found[where] = Held(known.size + held.size, known.objects + held.objects)
        if held.size > largest.get(where, (0, []))[0]:
            largest[where] = (held.size, stack)
    ordered = sorted(found, key=lambda where: found[where].size, reverse=True)[:MOST_SUSPECTS]
    return [
        (where, found[where], [str(line) for line in largest[where][1]])
        for where in ordered
        if found[where].size >= LEAST
    ]


def _tell(key: str, size: int, document: dict[str, object]) -> None:
    buffer.record(NAME, key, size)
    buffer.describe(NAME, key, document)
    buffer.sample(NAME, key, size, document)


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _allocate() -> list[dict[str, str]]:
    """Some allocations as a program makes them."""
    return [{str(number): f"{number} of them"} for number in range(500)]
