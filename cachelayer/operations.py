"""What operators do with level 2: count it, look into it, empty it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cachelayer.codec import CorruptEntry, decode
from cachelayer.invalidation import MOST_KEYS, SCAN_COUNT, delete_matching
from cachelayer.keys import pattern
from cachelayer.layer import cache_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_SHOWN = 2_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def survey(namespace: str | None = None) -> dict[str, tuple[int, int]]:
    """Entries and bytes by namespace, of all or of one. Raises Unavailable."""
    layer = cache_layer()
    found: dict[str, tuple[int, int]] = {}
    for entries in _entries(namespace):
        sizes = layer.remote.call(*[("STRLEN", key) for key, _ in entries])
        for (_, name), size in zip(entries, sizes, strict=True):
            number, total = found.get(name, (0, 0))
            found[name] = (number + 1, total + (size if isinstance(size, int) else 0))
    return found


def namespaces() -> list[str]:
    """The namespaces that have entries. Raises Unavailable."""
    return sorted({name for entries in _entries() for _, name in entries})


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


def _entries(namespace: str | None = None) -> Iterator[list[tuple[str, str]]]:
    """Keys and their namespaces, a piece at a time."""
    layer = cache_layer()
    prefix = layer.settings.prefix
    # The prefix may be shared with others, and locks and tags have it too.
    entry = re.compile(rf"{re.escape(prefix)}:([\w.-]+):v\d+:[0-9a-f]{{32}}")
    wanted = f"{prefix}:*:v*" if namespace is None else pattern(prefix, namespace)
    for piece in layer.remote.scan(wanted, count=SCAN_COUNT):
        yield [(key, match[1]) for key in piece if (match := entry.fullmatch(key))]


def _moment(seconds: float) -> str:
    """A time of an entry; somebody else's may be none that there is."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()
    except (OverflowError, ValueError):
        return f"{seconds} s"
