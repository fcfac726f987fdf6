"""What was seen often enough to be a fault: found, told as mended, resolved, opened again.

Detectors record a sighting under the name of their `Kind`, worth the milliseconds it cost (of
growing memory the bytes), and describe its key. A description may say what a finding is called
(`title`), and which `view` it slows down.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models import Case, F, Max, Min, Sum, When
from django.utils import timezone

from performance.analysis.postgresql.rows import OURS
from performance.models import Cursor, Finding, Kind
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope, subjects, sums

if TYPE_CHECKING:
    from collections.abc import Iterable


# Sightings within an hour that raise a finding; of the others the first does. They are
# extrapolated: where only some requests are looked at, one of them stands for enough of its like.
RAISED_AT = {Kind.N_PLUS_ONE: 3, Kind.DUPLICATE_QUERIES: 3}
QUIET_FOR = timedelta(days=7)
# Calls of the view that were looked at without a sighting, after which it seems to be mended.
MENDED_AFTER = 100
# Recorded for each request that is looked at in detail: what is only counted shows no fault.
LOOKED_AT = "request.looked_at"
# Of each kind, those that cost most may be raised.
MOST = 200

CURSOR = "findings"
TRY_LOCK = f"SELECT pg_try_advisory_xact_lock(hashtext('performance.findings')){OURS}"
CALLS = """
SELECT asked.id, sum(looked_at.count)
FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::timestamptz[])
    AS asked (id, view, period, since)
JOIN performance_aggregate looked_at ON looked_at.type = %s AND looked_at.instance = ''
    AND looked_at.period = asked.period AND looked_at.bucket > asked.since
    AND looked_at.key = asked.view
GROUP BY asked.id
"""


class State(StrEnum):
    """How a finding is now."""

    OPEN = "open"
    REGRESSION = "regression"
    SEEMS_MENDED = "seems mended"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the last hour has seen of one key: how often, and what it cost as its kind has it.

    `first` and `last` are the beginnings of the minutes in which it was seen.
    """

    key: str
    count: float
    wasted: float
    first: datetime
    last: datetime


class FindingsSampler:
    """Has one process of the fleet look for findings twice a minute."""

    name = "findings"
    every = 30.0

    def sample(self) -> None:
        """Review, unless another process does or has just done it."""
        now = timezone.now()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(TRY_LOCK)
            if not cursor.fetchone()[0]:
                return
            latest = Cursor.at(CURSOR)
            if latest and now - datetime.fromisoformat(latest) < timedelta(seconds=self.every / 2):
                return
            review(now)
            Cursor.move(CURSOR, now.isoformat())


@transaction.atomic
def review(now: datetime) -> int:
    """Write what the hour before `now` has seen as findings, resolve what is quiet.

    Returns how many findings were seen.
    """
    seen = sum(_review_kind(kind, now) for kind in Kind)
    quiet = Finding.objects.filter(resolved_at=None, last_seen_at__lt=now - QUIET_FOR)
    quiet.update(resolved_at=now)
    return seen


def _review_kind(kind: Kind, now: datetime) -> int:
    seen = {one.key: one for one in sighted(kind, now)}
    if not seen:
        return 0
    rows = Finding.objects.select_for_update().filter(kind=kind, key__in=list(seen))
    known = {one.key: one for one in rows}
    # What is open is no less open for being seen seldom.
    still = {key for key, one in known.items() if one.resolved_at is None}
    enough = RAISED_AT.get(kind, 1)
    sightings = {key: one for key, one in seen.items() if key in still or one.count >= enough}
    about = subjects(kind.value, sightings)
    total = sums(kind.value, Scope(PERIODS["7d"]), list(sightings))
    found = []
    for key, sighting in sightings.items():
        finding = known.get(key) or Finding(kind=kind, key=key, first_seen_at=sighting.first)
        update(finding, sighting, about.get(key), now)
        finding.sightings = total[key][0] if key in total else sighting.count
        found.append(finding)
    fields = ["title", "document", "last_seen_at", "sightings", "wasted", "resolved_at"]
    Finding.objects.bulk_create(
        found,
        update_conflicts=True,
        unique_fields=["kind", "key"],
        update_fields=[*fields, "reopened_at"],
    )
    return len(found)


def sighted(kind: Kind, now: datetime) -> list[Sighting]:
    """The keys of a kind that the last hour has seen: those that cost most, and all open ones."""
    rows = Scope().rows(kind.value, now).values("key")
    found = rows.annotate(
        entries=Sum("count"), wasted=Sum("sum"), first=Min("bucket"), last=Max("bucket")
    ).order_by("-wasted", "key")
    still = Finding.objects.filter(kind=kind, resolved_at=None).values("key")
    return [
        Sighting(row["key"], row["entries"], row["wasted"], row["first"], row["last"])
        for row in found[:MOST].union(found.filter(key__in=still))
    ]


def update(
    finding: Finding, sighting: Sighting, about: dict[str, Any] | None, now: datetime
) -> None:
    """Bring a finding up to date with what was seen of it."""
    if about is not None:
        finding.document = about
    elif finding._state.adding:
        finding.document = {}
    finding.title = finding.document.get("title") or f"{Kind(finding.kind).label}: {finding.key}"
    if finding.resolved_at is not None and sighting.last > finding.resolved_at:
        finding.resolved_at, finding.reopened_at = None, now
    if finding._state.adding or sighting.last > finding.last_seen_at:
        finding.last_seen_at, finding.wasted = sighting.last, sighting.wasted
    else:
        # Of the hour in which it was seen last, only ever less is looked at.
        finding.wasted = max(finding.wasted, sighting.wasted)


def ranked(kinds: Iterable[Kind], most: int = 50) -> list[Finding]:
    """Findings of these kinds: the unresolved first, then by what they cost.

    Growing memory comes before what costs time: bytes and milliseconds cannot be compared, and a
    process that grew for so long that its memory was traced will be killed some day.
    """
    found = Finding.objects.filter(kind__in=list(kinds))
    kills = Case(When(kind=Kind.MEMORY_GROWTH, then=0), default=1)
    order = (F("resolved_at").desc(nulls_first=True), kills, F("wasted").desc(), "key")
    return list(found.order_by(*order)[:most])


def states(findings: Iterable[Finding], now: datetime) -> dict[int, State]:
    """How each finding is, by its primary key."""
    rows = list(findings)
    calls = calls_since(rows, now)
    return {one.pk: state_of(one, calls.get(one.pk, 0.0)) for one in rows}


def state_of(finding: Finding, calls: float) -> State:
    """The same for one whose view was looked at so often since it was last seen."""
    if finding.resolved_at is not None:
        return State.RESOLVED
    if calls >= MENDED_AFTER:
        return State.SEEMS_MENDED
    return State.REGRESSION if finding.reopened_at is not None else State.OPEN


def calls_since(findings: Iterable[Finding], now: datetime) -> dict[int, float]:
    """How often the view of each finding was looked at since it was last seen, by primary key.

    Counted in whole buckets that began later, of the finest window that goes back so far.
    """
    asked = []
    for finding in findings:
        view = finding.document.get("view")
        age = now - finding.last_seen_at
        period = next((one for one in PERIODS.values() if one.window > age), None)
        if view and period and finding.resolved_at is None:
            asked.append((finding.pk, view, period.seconds, finding.last_seen_at))
    if not asked:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(CALLS, [*map(list, zip(*asked, strict=True)), LOOKED_AT])
        return dict(cursor.fetchall())
