"""Cron expressions of five fields, in a time zone, as Debian's cron reads them (crontab(5)).

When clocks change, a tick at a fixed hour that does not exist comes right after the gap, and one
that exists twice comes once; what repeats within the hour follows the time that really passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = 5


class InvalidCron(ValueError):
    """Not a cron expression that this service runs."""


@dataclass(frozen=True, slots=True)
class Cron:
    """When something repeats. `timezone` is an IANA name."""

    expression: str
    timezone: str = "UTC"

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The ticks later than a moment, in UTC.

        Raises InvalidCron for an expression or a time zone that is none.
        """
        # cronsim also takes a sixth field, for seconds.
        if len(self.expression.split()) != FIELDS:
            raise InvalidCron("five fields: minute, hour, day of month, month, day of week")
        try:
            zone = UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)
            ticks = CronSim(self.expression, moment.astimezone(zone))
        except CronSimError as error:
            raise InvalidCron(str(error)) from None
        except (ZoneInfoNotFoundError, ValueError):
            raise InvalidCron(f"the time zone {self.timezone} is not known") from None
        last = moment
        for tick in ticks:
            # Within the hour that comes twice, the first of the two may be over.
            if tick > last:
                last = tick.astimezone(UTC)
                yield last

    def next_after(self, moment: datetime) -> datetime:
        """The first tick later than a moment; raises InvalidCron when it never comes."""
        for tick in self.after(moment):
            return tick
        raise InvalidCron("never fires")

    def first(self, count: int, *, after: datetime) -> list[datetime]:
        """The next ticks."""
        return list(islice(self.after(after), count))
