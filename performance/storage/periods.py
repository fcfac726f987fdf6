"""How finely the past is kept: sixty buckets a window, finer ones for what is nearer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BUCKETS = 60
LONGEST = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Period:
    """A window of so many buckets to look at, each `seconds` long. Some are kept by process too."""

    name: str
    seconds: int
    by_instance: bool
    buckets: int = BUCKETS

    @property
    def window(self) -> timedelta:
        """How far back it goes."""
        return min(timedelta(seconds=self.seconds * self.buckets), LONGEST)

    @property
    def longer(self) -> Period | None:
        """The next one whose buckets consist of whole ones of this one, if any."""
        longer = (one for one in GRAINS if one.seconds > self.seconds)
        return next((one for one in longer if one.seconds % self.seconds == 0), None)

    def bucket(self, timestamp: float) -> datetime:
        """The beginning of the bucket that a Unix time is in."""
        return datetime.fromtimestamp(timestamp // self.seconds * self.seconds, UTC)


MINUTE = Period("1h", 60, by_instance=True)
# Processes come and go: what one of them did the day before yesterday is asked by nobody.
PERIODS = {
    period.name: period
    for period in (
        MINUTE,
        Period("6h", 360, by_instance=True),
        Period("24h", 1440, by_instance=False),
        Period("7d", 10080, by_instance=False),
    )
}
# Whoever wants a sum over all of the longest window reads the last: it is no window by itself.
GRAINS = (*PERIODS.values(), Period("", 6 * 10080, by_instance=False))
