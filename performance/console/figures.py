"""Numbers as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from performance.cards.shapes import Unit

NONE = "–"
SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def figure(value: Any, unit: Unit = "number") -> str:
    """A value with its unit, with as many digits as mean something."""
    if value is None:
        return NONE
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {"True": "yes", "False": "no"}.get(str(value), str(value))
    return WRITERS.get(unit, number)(value)


def number(value: float) -> str:
    """Three digits at least, in groups of three."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _size(value: float) -> str:
    for name in SIZES[:-1]:
        if abs(value) < 1024:
            return f"{number(value)} {name}"
        value /= 1024
    return f"{number(value)} {SIZES[-1]}"


def _milliseconds(value: float) -> str:
    return f"{number(value)} ms" if abs(value) < 1000 else _duration(value / 1000)


def _duration(value: float) -> str:
    if abs(value) < 1:
        return f"{number(value * 1000)} ms"
    if abs(value) < 120:
        return f"{number(value)} s"
    minutes, hours, days = value / 60, value / 3600, value / 86400
    if minutes < 120:
        return f"{number(minutes)} min"
    return f"{number(hours)} h" if hours < 48 else f"{number(days)} d"


WRITERS: dict[Unit, Callable[[float], str]] = {
    "bytes": _size,
    "ms": _milliseconds,
    "seconds": _duration,
    "percent": lambda value: f"{number(value)} %",
    "per second": lambda value: f"{number(value)}/s",
}
