"""A job's timeline as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobs.timeline import PHASES, timeline_of, waits_for

if TYPE_CHECKING:
    from datetime import datetime

    from jobs.models import Job
    from jobs.timeline import Event

# Of a bar, in the units of its SVG.
WIDTH = 1000
EXPLANATIONS = {
    "slot": "waiting for a free place in the worker",
    "robots": "reading robots.txt",
    "wait": "waiting for a connection of ours",
    "dns": "resolving the name",
    "connect": "connecting",
    "tls": "setting up TLS",
    "first_byte": "waiting for the first byte",
    "download": "downloading",
    "turn": "waiting for the worker's processor",
    "parse": "extracting",
    "commit": "storing the result",
}
REASONS = {
    "scheduled": "its time",
    "retry": "another attempt",
    "off_peak": "off-peak hours",
    "paused": "staff to resume the queue, which is paused",
    "domain": "its host, which is scraped gently",
    "quota": "other jobs of its client",
    "workers": "a free worker",
}
# Details of an event that its line says otherwise.
SAID = {"attempt", "milliseconds", "phases", "error", "worker"}


@dataclass(frozen=True, slots=True)
class Segment:
    """A phase in a bar."""

    name: str
    explanation: str
    x: float
    width: float
    duration: str

    @property
    def label(self) -> str:
        """Its name, to read."""
        return self.name.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Line:
    """An event; `since` acceptance, in words like every duration here."""

    at: datetime
    since: str
    title: str
    worker: str
    note: str
    duration: str
    error: dict[str, str] | None
    bar: list[Segment] = field(default_factory=list)


def story_of(job: Job) -> list[Line]:
    """The lines of a job's timeline, oldest first."""
    return [line_of(event, job.created_at) for event in timeline_of(job)]


def waits_in_words(job: Job) -> dict[str, Any] | None:
    """What a queued job waits for and until when, if that is known."""
    found = waits_for(job)
    return found and found | {"reason": REASONS.get(found["reason"], found["reason"])}


def line_of(event: Event, accepted: datetime) -> Line:
    """How an event is told."""
    details = event.details
    return Line(
        at=event.at,
        since=in_words(1000 * (event.at - accepted).total_seconds()),
        title=_title(event),
        worker=details.get("worker", ""),
        note=_note(details),
        duration=_duration(event),
        error=details.get("error"),
        bar=bar_of(details.get("phases") or {}, details.get("milliseconds") or 0.0),
    )


def bar_of(phases: dict[str, float], took: float) -> list[Segment]:
    """The phases of an attempt, one behind the other, in proportion to what it took in all."""
    unit = WIDTH / max(took, sum(phases.values()), 0.001)
    segments, x = [], 0.0
    for name in PHASES:
        if name not in phases:
            continue
        width = phases[name] * unit
        duration = in_words(phases[name])
        explanation = EXPLANATIONS.get(name, "")
        segments.append(Segment(name, explanation, round(x, 2), round(width, 2), duration))
        x += width
    return segments


def in_words(milliseconds: float) -> str:
    """A duration, with three digits or so."""
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return seconds_in_words(milliseconds / 1000)


def seconds_in_words(seconds: float) -> str:
    """A duration of a second or more."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _title(event: Event) -> str:
    match event.name:
        case "attempt_ended":
            return f"Attempt {event.details['attempt']} ended"
        case "claimed":
            return f"Attempt {event.details['attempt']} began"
        case _:
            return event.name.replace("_", " ").capitalize()


def _duration(event: Event) -> str:
    if "milliseconds" not in event.details:
        return ""
    verb = "waited" if event.name == "claimed" else "took"
    return f"{verb} {in_words(event.details['milliseconds'])}"


def _note(details: dict[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in details.items()
        if name not in SAID and value
    )
