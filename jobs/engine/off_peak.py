"""The hours in which resource-heavy jobs may run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from jobs.conf import job_settings


@dataclass(frozen=True, slots=True)
class Window:
    """A part of every day, by the clocks of a time zone; it may pass midnight."""

    start: time
    end: time
    zone: ZoneInfo

    def contains(self, moment: datetime) -> bool:
        """Whether a moment lies within; the end does not."""
        clock = moment.astimezone(self.zone).time()
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end

    def next_start(self, moment: datetime) -> datetime:
        """When the window opens next, in UTC."""
        day = moment.astimezone(self.zone).date()
        while True:
            start = datetime.combine(day, self.start, tzinfo=self.zone).astimezone(UTC)
            # On the day that clocks go forward, a window may not exist.
            if start > moment and self.contains(start):
                return start
            day += timedelta(days=1)


@cache
def window(hours: str, timezone: str) -> Window | None:
    """`OFF_PEAK_HOURS` in `OFF_PEAK_TIMEZONE`; None when it is always off-peak."""
    if not hours:
        return None
    start, end = (time.fromisoformat(part) for part in hours.split("-"))
    return Window(start, end, ZoneInfo(timezone))


def next_off_peak(now: datetime) -> datetime | None:
    """When off-peak hours begin, in UTC; None when it is off-peak now."""
    settings = job_settings()
    hours = window(settings.off_peak_hours, settings.off_peak_timezone)
    return None if hours is None or hours.contains(now) else hours.next_start(now)
