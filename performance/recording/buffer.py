"""What this process has seen since it last told: numbers to be folded, evidence kept whole.

Whoever is watched waits while something is recorded, so that is little more than an append; what
adds it up does so once a second.
"""

from __future__ import annotations

from collections import defaultdict, deque
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from performance.entry import LONGEST_KEY, Message, Name, Sample, Subject, Tally
from performance.recording.rescue import failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Of one type, in one message: what comes after counts together, so that memory stays bounded.
MOST_KEYS = 500
# Entries of one name that wait to be added up.
MOST_WAITING = 1_000
# What is put off: so much takes a few milliseconds in one go.
MOST_PUT_OFF = 200
OTHER = "(other)"
# Of one name, in so many seconds: the largest; and of all names together in one message.
MOST_SAMPLES = 3
BAR_STANDS = 300.0
MOST_SAMPLES_TOLD = 1_000
# Of what is too much for a message, the first is told.
MOST_SUBJECTS = 500
# Seconds until what a key stands for is told again: it is forgotten when nobody says it for weeks.
TOLD_AGAIN_AFTER = 6 * 3600.0


class Buffer:
    """Recorders write to it from whatever thread or greenlet they run in.

    Nothing is locked: between greenlets that is exact, and between threads a count that is lost
    now and then is worth no lock. `described` has by type the keys of which it knows what they
    stand for, for whoever would have to find it out.
    """

    def __init__(self) -> None:
        """Empty."""
        self._tallies: dict[Name, Tally] = {}
        self._put_off: deque[tuple[str, Callable[..., object], tuple[Any, ...]]] = deque()
        self._waiting: dict[tuple[str, str], list[float]] = {}
        self._parts: dict[tuple[tuple[str, ...], str], list[float]] = {}
        self._keys: dict[str, int] = {}
        self._samples: list[Sample] = []
        self._bars: dict[Name, list[float]] = {}
        self._bars_until = 0.0
        self._subjects: dict[Name, dict[str, Any]] = {}
        self.described: defaultdict[str, set[str]] = defaultdict(set)
        self._described_until = monotonic() + TOLD_AGAIN_AFTER
        self._values: dict[str, dict[str, Any]] = {}

    def put_off(self, recorder: str, record: Callable[..., object], *entry: Any) -> None:
        """Have `record(*entry)` called within a second or so, among many of its like.

        In the midst of what is watched it takes several times longer, for nothing that it needs
        is in the processor's caches. What it raises is counted under the recorder's name.
        """
        self._put_off.append((recorder, record, entry))

    @property
    def is_behind(self) -> bool:
        """Whether so much is put off that somebody should `catch_up`."""
        return len(self._put_off) >= MOST_PUT_OFF

    def catch_up(self) -> None:
        """Record what was put off."""
        # Whoever catches up at the same time takes others of them: each is recorded once.
        while self._put_off:
            try:
                recorder, record, entry = self._put_off.popleft()
            except IndexError:
                return
            try:
                record(*entry)
            except Exception:
                failed(recorder)

    def record(self, type: str, key: str, value: float, weight: float = 1.0) -> None:
        """An entry that stands for `weight` of its like."""
        waiting = self._waiting.get((type, key))
        if waiting is None or weight != 1.0:
            self._tally(type, key).add(value, weight)
            if waiting is None and (type, key) in self._tallies:
                self._waiting[type, key] = []
            return
        waiting.append(value)
        if len(waiting) >= MOST_WAITING:
            self._waiting[type, key] = []
            self._tally(type, key).add_all(waiting)

    def count(self, type: str, key: str, number: float = 1.0, sum: float = 0.0) -> None:
        """So many entries that add up to `sum`, of which nobody wants percentiles."""
        tally = self._tallies.get((type, key))  # type: ignore[call-overload]
        if tally is None:
            tally = self._tally(type, key)
        tally.count += number
        tally.sum += sum

    def count_parts(
        self, types: tuple[str, ...], key: str, number: float, sums: Sequence[float]
    ) -> None:
        """`count` for each of these types, of the same entries: one sum for each."""
        known = self._parts.get((types, key))
        if known is None:
            if len(self._parts) >= MOST_KEYS:
                key = OTHER
            known = self._parts.setdefault((types, key), [0.0] * (len(types) + 1))
        known[-1] += number
        for place, sum in enumerate(sums):
            known[place] += sum

    def sample(self, type: str, key: str, value: float, document: dict[str, Any]) -> None:
        """Keep an entry as evidence, if it is among the largest of its name lately."""
        if not self.is_evidence(type, key, value):
            return
        name = Name(type, key[:LONGEST_KEY])
        largest = self._bars.setdefault(name, [])
        largest.append(value)
        largest.sort(reverse=True)
        del largest[MOST_SAMPLES:]
        self._samples.append(Sample(*name, value, time(), document))

    def is_evidence(self, type: str, key: str, value: float) -> bool:
        """Whether `sample` would keep it: asked before the evidence is gathered."""
        if len(self._samples) >= MOST_SAMPLES_TOLD:
            return False
        now = monotonic()
        if now >= self._bars_until:
            self._bars, self._bars_until = {}, now + BAR_STANDS
        largest = self._bars.get(Name(type, key[:LONGEST_KEY]), [])
        return len(largest) < MOST_SAMPLES or value > largest[-1]

    def describe(self, type: str, key: str, document: dict[str, Any]) -> None:
        """Say what a key stands for. It is told every few hours; more often costs nothing."""
        key = key[:LONGEST_KEY]
        known = self.described[type]
        if key in known or len(self._subjects) >= MOST_SUBJECTS:
            return
        known.add(key)
        self._subjects[Name(type, key)] = document

    def forget_described(self) -> None:
        """What was told has not arrived: describe it again."""
        self.described.clear()

    def publish(self, type: str, document: dict[str, Any]) -> None:
        """This process's present state of that type; the latest is told."""
        self._values[type] = document

    def take(self, instance: str) -> Message:
        """Everything so far, as a message; the buffer is empty then."""
        self.catch_up()
        tallies = self._take_tallies()
        samples, self._samples = self._samples, []
        subjects, self._subjects = self._subjects, {}
        if monotonic() >= self._described_until:
            self.forget_described()
            self._described_until = monotonic() + TOLD_AGAIN_AFTER
        values, self._values = self._values, {}
        return Message(
            instance,
            tallies,
            samples,
            [Subject(*name, document) for name, document in subjects.items()],
            values,
        )

    def forget(self) -> None:
        """As in a process that has told nothing yet."""
        self.take("")
        self.described.clear()

    def _take_tallies(self) -> dict[Name, Tally]:
        parts, self._parts = self._parts, {}
        for (types, key), (*sums, number) in parts.items():
            for type, sum in zip(types, sums, strict=True):
                self.count(type, key, number, sum)
        waiting, self._waiting = self._waiting, {}
        tallies, self._tallies, self._keys = self._tallies, {}, {}
        for name, values in waiting.items():
            if values:
                tallies.setdefault(Name(*name), Tally()).add_all(values)
        return tallies

    def _tally(self, type: str, key: str) -> Tally:
        name = Name(type, key[:LONGEST_KEY])
        tally = self._tallies.get(name)
        if tally is not None:
            return tally
        known = self._keys.get(type, 0)
        if known >= MOST_KEYS:
            return self._tallies.setdefault(Name(type, OTHER), Tally())
        self._keys[type] = known + 1
        return self._tallies.setdefault(name, Tally())
