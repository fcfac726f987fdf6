"""Charts as shapes: where curves go, and what each bucket says when one points at it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from math import floor, log10
from typing import TYPE_CHECKING

from django.utils import timezone

from performance.console.figures import figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from performance.cards.shapes import Bar, Chart, Line, Unit

# In the units of the SVG's viewBox.
WIDTH, HEIGHT = 600.0, 120.0
# Curves that have a colour of their own; more begin again.
COLOURS = 6
HALF = 0.5
# What a scale may end at, times a power of ten of the unit that its figures are written in.
STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
# What figures are written in, and from which value.
WRITTEN_IN: dict[str, list[tuple[float, float]]] = {
    "bytes": [(1024.0**power, 1024.0**power) for power in (4, 3, 2, 1)],
    "seconds": [(one, 2 * one) for one in (86_400.0, 3600.0, 60.0)],
}


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a chart: `path` is an SVG path, with a gap wherever there is no value.

    `dots` is a path too, of the values without neighbours: no line would show them.
    """

    label: str
    number: int
    path: str
    dots: str
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
    """A chart ready for its template; the axes' ends as text.

    `middle` is what half of the height stands for, empty when that is half a thing or nothing.
    """

    title: str
    curves: Sequence[Curve]
    slots: Sequence[Slot]
    markers: Sequence[Marker]
    top: str
    middle: str
    begins: str
    ends: str
    is_empty: bool
    width: float = WIDTH
    height: float = HEIGHT


def draw(
    chart: Chart, events: Sequence[tuple[datetime, str]] = (), *, is_small: bool = False
) -> Drawing:
    """The chart, scaled from zero to above its largest value, with what happened meanwhile.

    In a small one nobody can point at a bucket: it has no slots.
    """
    chart = _as_if_over(chart)
    largest = max((value for line in chart.lines for value in line.values if value), default=0.0)
    top = scale(largest, chart.unit)
    step = WIDTH / max(len(chart.moments), 1)
    begins, ends = _times(chart, [chart.moments[0], _end(chart)]) if chart.moments else ("", "")
    return Drawing(
        chart.title,
        [
            Curve(line.label, number % COLOURS, *_paths(line, step, top), _latest(line, chart))
            for number, line in enumerate(chart.lines)
        ],
        [] if is_small else _slots(chart, step),
        _markers(chart, events),
        figure(top, chart.unit) if top else "",
        _middle(top, chart.unit),
        begins,
        ends,
        not any(value is not None for line in chart.lines for value in line.values),
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar that is 100 wide; `number` is its colour, None of what no part explains."""

    number: int | None
    x: float
    width: float
    text: str


def draw_bar(bar: Bar) -> list[Segment]:
    """Its parts, one behind the other; parts that overlap share the width of the whole."""
    unit = 100 / max(bar.whole, sum(bar.parts.values()), 0.001)
    segments, x = [], 0.0
    lengths = [(number, *part) for number, part in enumerate(bar.parts.items())]
    for number, name, length in [*lengths, (None, "unexplained", bar.rest)]:
        if width := round(length * unit, 2):
            segments.append(Segment(number, round(x, 2), width, f"{name} {figure(length, 'ms')}"))
            x += width
    return segments


def scale(largest: float, unit: Unit) -> float:
    """A round number that is not below that value, as its figures are written; 0 for nothing."""
    if largest <= 0:
        return 0.0
    if unit == "ms" and largest >= 1000:
        return 1000 * scale(largest / 1000, "seconds")
    base = next((base for base, least in WRITTEN_IN.get(unit, ()) if largest >= least), 1.0)
    power = 10.0 ** floor(log10(largest / base))
    steps = (step * power for step in STEPS if step * power * base >= largest)
    return base * next(steps, 10 * power)


def _middle(top: float, unit: Unit) -> str:
    half = top / 2
    is_odd = unit == "number" and top == int(top) and half != int(half)
    return "" if not top or is_odd else figure(half, unit)


def _as_if_over(chart: Chart) -> Chart:
    """The rate of a bucket that is not over yet would look like a fall.

    It is what it would be at this pace; before half of its time it is left out.
    """
    if not chart.is_rate or len(chart.moments) < 2:
        return chart
    share = (timezone.now() - chart.moments[-1]) / (chart.moments[-1] - chart.moments[-2])
    if share >= 1:
        return chart

    def at_this_pace(value: float | None) -> float | None:
        return value / share if value is not None and share > HALF else None

    lines = [
        replace(line, values=[*line.values[:-1], at_this_pace(line.values[-1])])
        for line in chart.lines
    ]
    return replace(chart, lines=lines)


def _end(chart: Chart) -> datetime:
    """When the last bucket ended, or now while it lasts; the last moment where are no buckets."""
    last = chart.moments[-1]
    if not chart.has_buckets or len(chart.moments) < 2:
        return last
    return min(last + (last - chart.moments[-2]), timezone.now())


def _times(chart: Chart, moments: Sequence[datetime]) -> list[str]:
    """Moments of it, with their day where it has several."""
    is_long = chart.moments[-1] - chart.moments[0] > timedelta(hours=12)
    form = "%m-%d %H:%M" if is_long else "%H:%M"
    return [at.strftime(form) for at in moments]


def _markers(chart: Chart, events: Sequence[tuple[datetime, str]]) -> list[Marker]:
    # Without buckets, places on the chart are no times.
    if not chart.has_buckets or len(chart.moments) < 2:
        return []
    first, step = (
        chart.moments[0],
        (chart.moments[-1] - chart.moments[0]) / (len(chart.moments) - 1),
    )
    whole = step * len(chart.moments)
    shares = [((at - first) / whole, text) for at, text in events]
    return [Marker(round(share * WIDTH, 2), text) for share, text in shares if 0 <= share <= 1]


def _paths(line: Line, step: float, top: float) -> tuple[str, str]:
    """The curve, and the dots of values without neighbours."""
    runs: list[list[str]] = [[]]
    for number, value in enumerate(line.values):
        if value is None:
            runs.append([])
            continue
        x = (number + 0.5) * step
        y = HEIGHT - (value / top if top else 0.0) * (HEIGHT - 4) - 2
        runs[-1].append(f"{x:.1f} {y:.1f}")
    curve = "".join(f"M{'L'.join(run)}" for run in runs if len(run) > 1)
    return curve, "".join(f"M{run[0]}h0.1" for run in runs if len(run) == 1)


def _latest(line: Line, chart: Chart) -> str:
    known = [value for value in line.values if value is not None]
    return figure(known[-1] if known else None, chart.unit)


def _slots(chart: Chart, step: float) -> list[Slot]:
    """Its buckets with what each says."""
    unit, width = chart.unit, round(step, 2)
    said: list[list[str]] = [[] for _ in chart.moments]
    for line in chart.lines:
        for says, value in zip(said, line.values, strict=True):
            if value is not None:
                says.append(f"{line.label} {figure(value, unit)}")
    return [
        Slot(round(number * step, 2), width, f"{at} · {' · '.join(says) or 'nothing'}")
        for number, (at, says) in enumerate(zip(_times(chart, chart.moments), said, strict=True))
    ]
