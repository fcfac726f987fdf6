"""Numbers as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

NONE = "–"
SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def figure(value: Any, unit: str = "number") -> str:
    """A value with its unit, a card's or any word, with as many digits as mean something."""
    if value is None:
        return NONE
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {"True": "yes", "False": "no"}.get(str(value), str(value))
    return WRITERS[unit](value) if unit in WRITERS else f"{number(value)} {unit}"


def number(value: float) -> str:
    """Three digits at least, in groups of three; what is too small for them is no zero."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) < 0.005:
        return "< 0.01" if value > 0 else "> -0.01"
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


def _rate(value: float) -> str:
    """By the minute or hour what seldom happens."""
    if value == 0 or abs(value) >= 0.1:
        return f"{number(value)}/s"
    return f"{number(value * 60)}/min" if abs(value) * 60 >= 0.1 else f"{number(value * 3600)}/h"


WRITERS: dict[str, Callable[[float], str]] = {
    "": number,
    "number": number,
    "code": number,
    "time": number,
    "bytes": _size,
    "ms": _milliseconds,
    "seconds": _duration,
    "percent": lambda value: f"{number(value)} %",
    "per second": _rate,
}
