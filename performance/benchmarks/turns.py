"""Two that are compared take turns of a second or less: while one works the other is stopped.

A machine that others use too is quick in one moment and slow in the next by more than what is to be
measured. Many short turns meet the same machine.

Who is watched has three turns of four. Its clocks go on while it is stopped, so what it does every
few seconds is done in fewer of its own: with three of four it weighs a third too much, with every
second turn it would weigh double.

Both are started several times, so that nothing is decided by what one process happens to be like
for as long as it lives; each is first as often as second, so that their order decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import quantiles
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

ORDER = (True, False, True, True)


@dataclass(slots=True)
class Side:
    """One of the two: its first process, and what it has done in how many seconds so far.

    `cpu` is what its processes computed meanwhile; `times` are seconds too, of what it has begun
    and done in one turn.
    """

    pid: int
    is_watched: bool
    done: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    times: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """What it did a second."""
        return self.done / self.seconds

    @property
    def p95(self) -> float:
        """One in twenty took longer, in milliseconds."""
        return 1000 * quantiles(self.times, n=20)[-1]

    @property
    def cpu_each(self) -> float:
        """What it computed for each that it did, in milliseconds."""
        return 1000 * self.cpu / self.done

    def add(self, seconds: float, done: int, times: Iterable[float]) -> None:
        """What it did in a turn."""
        self.done += done
        self.seconds += seconds
        self.times.extend(times)

    def join(self, other: Side) -> None:
        """What its like did, of another start."""
        self.done += other.done
        self.seconds += other.seconds
        self.cpu += other.cpu
        self.times.extend(other.times)

    def stop(self) -> None:
        """Have none of its processes run."""
        for process in self._processes():
            process.suspend()

    def go_on(self) -> None:
        """End that."""
        for process in self._processes():
            process.resume()

    def computed(self) -> float:
        """Seconds that its processes have computed since they began."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def _processes(self) -> list[psutil.Process]:
        first = psutil.Process(self.pid)
        return [first, *first.children(recursive=True)]


def in_turns(sides: Sequence[Side], rounds: int, turn: Callable[[Side], None]) -> Iterator[int]:
    """Let each work in its `turn`; yields the number of each round before it begins.

    Nobody works while the caller has it.
    """
    by_kind = {side.is_watched: side for side in sides}
    for side in sides:
        side.stop()
    try:
        for number in range(rounds):
            yield number
            for is_watched in ORDER[:: 1 if number % 2 else -1]:
                side = by_kind[is_watched]
                before = side.computed()
                side.go_on()
                try:
                    turn(side)
                finally:
                    side.stop()
                side.cpu += side.computed() - before
    finally:
        for side in sides:
            side.go_on()
