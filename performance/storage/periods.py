"""How finely the past is kept: sixty buckets a window, finer ones for what is nearer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BUCKETS = 60


@dataclass(frozen=True, slots=True)
class Period:
    """A window to look at; a bucket is `seconds` long. Some windows are kept by process too."""

    name: str
    seconds: int
    by_instance: bool

    @property
    def window(self) -> timedelta:
        """How far back it goes."""
        return timedelta(seconds=self.seconds * BUCKETS)

    def bucket(self, timestamp: float) -> datetime:
        """The beginning of the bucket that a Unix time is in."""
        return datetime.fromtimestamp(timestamp // self.seconds * self.seconds, UTC)


# Processes come and go: what one of them did the day before yesterday is asked by nobody.
PERIODS = {
    period.name: period
    for period in (
        Period("1h", 60, by_instance=True),
        Period("6h", 360, by_instance=True),
        Period("24h", 1440, by_instance=False),
        Period("7d", 10080, by_instance=False),
    )
}
