"""What operators do with level 2: count it, look into it, empty it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.table import Table

from cachelayer.codec import CorruptEntry, decode
from cachelayer.invalidation import MOST_KEYS, SCAN_COUNT, delete_matching
from cachelayer.keys import pattern
from cachelayer.layer import cache_layer

LONGEST_SHOWN = 2_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def survey() -> dict[str, tuple[int, int]]:
    """Entries and bytes by namespace. Raises Unavailable."""
    layer = cache_layer()
    # The prefix may be shared with others, and locks and tags have it too.
    entry = re.compile(rf"{re.escape(layer.settings.prefix)}:([\w.-]+):v\d+:[0-9a-f]{{32}}")
    found: dict[str, tuple[int, int]] = {}
    for piece in layer.remote.scan(f"{layer.settings.prefix}:*:v*", count=SCAN_COUNT):
        entries = [(key, match[1]) for key in piece if (match := entry.fullmatch(key))]
        sizes = layer.remote.call(*[("STRLEN", key) for key, _ in entries])
        for (_, name), size in zip(entries, sizes, strict=True):
            number, total = found.get(name, (0, 0))
            found[name] = (number + 1, total + (size if isinstance(size, int) else 0))
    return found


def namespaces() -> list[str]:
    """The namespaces that have entries."""
    return sorted(survey())


def clear(namespace: str) -> int:
    """Remove a namespace's entries everywhere; returns how many level 2 had."""
    removed = piece = delete_matching(pattern(cache_layer().settings.prefix, namespace))
    while piece >= MOST_KEYS:
        piece = delete_matching(pattern(cache_layer().settings.prefix, namespace))
        removed += piece
    return removed


def stats_table() -> Table:
    """What level 2 holds. A process's own hits and misses are in its metrics."""
    table = Table(title="level 2")
    for heading in ("namespace", "entries", "bytes"):
        table.add_column(heading, justify="left" if heading == "namespace" else "right")
    for name, (entries, size) in sorted(survey().items()):
        table.add_row(name, f"{entries:,}", f"{size:,}")
    return table


def describe(key: str) -> str:
    """One entry in words. Raises LookupError when there is none, Unavailable."""
    replies = cache_layer().remote.call(("GET", key), ("PTTL", key))
    data, left = replies
    if not isinstance(data, bytes):
        raise LookupError(  # noqa: TRY004  the type tells whether there is one
            f"There is no entry {key!r}. `cache stats` shows what there is."
        )
    try:
        entry = decode(data)
    except CorruptEntry as error:
        return f"{key}\n  {len(data)} bytes that are no entry: {error}"
    value = repr(entry.value)
    shown: dict[str, Any] = {
        "bytes": len(data),
        "expires in": f"{left / 1000:.1f} s" if left >= 0 else "never",
        "created": _moment(entry.created),
        "fresh until": _moment(entry.fresh_until),
        "missing": entry.missing,
        "value": value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…",
    }
    return "\n".join([key, *(f"  {name:<12} {text}" for name, text in shown.items())])


def _moment(seconds: float) -> str:
    """A time of an entry; somebody else's may be none that there is."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()
    except (OverflowError, ValueError):
        return f"{seconds} s"
