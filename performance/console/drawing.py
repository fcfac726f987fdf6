"""Charts as shapes: where curves go, and what each bucket says when one points at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from performance.console.figures import figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from performance.cards.shapes import Chart, Line

# In the units of the SVG's viewBox.
WIDTH, HEIGHT = 600.0, 120.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a chart: `path` is an SVG path, with a gap wherever there is no value."""

    label: str
    number: int
    path: str
    latest: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A bucket's part of the chart; `text` is what it says."""

    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Marker:
    """Something that happened at a moment, as a deploy."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart ready for its template; the axes' ends as text."""

    title: str
    curves: Sequence[Curve]
    slots: Sequence[Slot]
    markers: Sequence[Marker]
    top: str
    begins: datetime | None
    ends: datetime | None
    is_empty: bool
    width: float = WIDTH
    height: float = HEIGHT


def draw(chart: Chart, events: Sequence[tuple[datetime, str]] = ()) -> Drawing:
    """The chart, scaled from zero to its largest value, with what happened meanwhile."""
    largest = max((value for line in chart.lines for value in line.values if value), default=0.0)
    step = WIDTH / max(len(chart.moments), 1)
    return Drawing(
        chart.title,
        [
            Curve(line.label, number, _path(line, step, largest), _latest(line, chart))
            for number, line in enumerate(chart.lines)
        ],
        [
            Slot(round(n * step, 2), round(step, 2), _says(chart, n))
            for n in range(len(chart.moments))
        ],
        _markers(chart, events),
        figure(largest, chart.unit),
        chart.moments[0] if chart.moments else None,
        chart.moments[-1] if chart.moments else None,
        not any(value is not None for line in chart.lines for value in line.values),
    )


def _markers(chart: Chart, events: Sequence[tuple[datetime, str]]) -> list[Marker]:
    if len(chart.moments) < 2:
        return []
    first, step = (
        chart.moments[0],
        (chart.moments[-1] - chart.moments[0]) / (len(chart.moments) - 1),
    )
    whole = step * len(chart.moments)
    shares = [((at - first) / whole, text) for at, text in events]
    return [Marker(round(share * WIDTH, 2), text) for share, text in shares if 0 <= share <= 1]


def _path(line: Line, step: float, largest: float) -> str:
    parts = []
    is_drawing = False
    for number, value in enumerate(line.values):
        if value is None:
            is_drawing = False
            continue
        x = (number + 0.5) * step
        y = HEIGHT - (value / largest if largest else 0.0) * (HEIGHT - 4) - 2
        parts.append(f"{'L' if is_drawing else 'M'}{x:.1f} {y:.1f}")
        # A point without neighbours would not be seen.
        if not is_drawing:
            parts.append("h0.1")
        is_drawing = True
    return "".join(parts)


def _latest(line: Line, chart: Chart) -> str:
    known = [value for value in line.values if value is not None]
    return figure(known[-1] if known else None, chart.unit)


def _says(chart: Chart, number: int) -> str:
    values = (
        f"{line.label} {figure(line.values[number], chart.unit)}"
        for line in chart.lines
        if line.values[number] is not None
    )
    return f"{chart.moments[number]:%H:%M} · " + (" · ".join(values) or "nothing")
