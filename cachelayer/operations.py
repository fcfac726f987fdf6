"""What operators do with level 2: count it, look into it, empty it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from cachelayer.codec import CorruptEntry, decode
from cachelayer.invalidation import SCAN_COUNT, delete_matching
from cachelayer.keys import pattern
from cachelayer.layer import cache_layer

LONGEST_SHOWN = 2_000


def survey() -> dict[str, tuple[int, int]]:
    """Entries and bytes by namespace. Raises Unavailable."""
    layer = cache_layer()
    prefix = f"{layer.settings.prefix}:"
    found: dict[str, tuple[int, int]] = {}
    for keys in layer.remote.scan(
        pattern(layer.settings.prefix, "*").replace("\\*", "*"), count=SCAN_COUNT
    ):
        sizes = layer.remote.call(*[("STRLEN", key) for key in keys])
        for key, size in zip(keys, sizes, strict=True):
            name = key.removeprefix(prefix).split(":", 1)[0]
            entries, total = found.get(name, (0, 0))
            found[name] = (entries + 1, total + (size if isinstance(size, int) else 0))
    return found


def namespaces() -> list[str]:
    """The namespaces that have entries."""
    return sorted(survey())


def clear(namespace: str) -> int:
    """Remove a namespace's entries everywhere; returns how many level 2 had."""
    return delete_matching(pattern(cache_layer().settings.prefix, namespace))


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
        "expires in": f"{left / 1000:.1f} s",
        "created": datetime.fromtimestamp(entry.created, UTC).isoformat(),
        "fresh until": datetime.fromtimestamp(entry.fresh_until, UTC).isoformat(),
        "missing": entry.missing,
        "value": value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…",
    }
    return "\n".join([key, *(f"  {name:<12} {text}" for name, text in shown.items())])
