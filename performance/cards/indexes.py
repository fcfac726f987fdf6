"""Indexes: which are missing, and which only cost writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse

from performance.analysis.postgresql import indexes
from performance.cards.shapes import Column, Content, Fact, Health, Level, Row, Table
from performance.cards.verdicts import worst

if TYPE_CHECKING:
    from performance.analysis.postgresql.indexes import Duplicate, Index, Missing
    from performance.storage.reading import Scope

MOST_SHOWN = 50

MISSING = (
    Column("table", "Table", "code"),
    Column("rows", "Rows", "number"),
    Column("sequential", "Read whole", "number"),
    Column("indexed", "By index", "number"),
    Column("read", "Rows read whole", "number"),
)
UNUSED = (
    Column("index", "Index", "code"),
    Column("table", "Table", "code"),
    Column("size", "Size", "bytes"),
)
DUPLICATE = (
    Column("index", "Index", "code"),
    Column("table", "Table", "code"),
    Column("covered", "Does the same", "code"),
    Column("size", "Size", "bytes"),
)


class IndexesCard:
    """What reads lack, and what writes pay for nothing."""

    name = "indexes"
    title = "Indexes"
    template = "admin/performance/index_links.html"

    def content(self, scope: Scope) -> Content:
        """Of the whole database, as it is now."""
        found, missing = indexes.indexes(), indexes.missing()
        unused = [one for one in found if one.is_unused]
        broken = [one for one in found if not one.is_valid]
        duplicates = indexes.duplicates(found)
        useless = unused + [one.index for one in duplicates if not one.index.is_unused]
        return Content(
            health=worst(_complaints(missing, useless, broken), "reads find what they look for"),
            facts=[
                Fact("Indexes", len(found)),
                Fact("Size", sum(one.size for one in found), "bytes"),
                Fact("Useless", sum(one.size for one in useless), "bytes"),
            ],
            tables=[
                _missing(missing),
                _unused("unused", "Unused", unused, "Every large index is used."),
                _duplicates(duplicates),
                *([_unused("broken", "Broken", broken, "")] if broken else []),
            ],
            note="Unused are those without a single scan since PostgreSQL's statistics were last "
            "reset: look also at replicas and at what runs once a month before dropping one.",
        )


def _complaints(missing: list[Missing], useless: list[Index], broken: list[Index]) -> list[Health]:
    found = []
    if broken:
        reason = f"{broken[0].name} was never finished: drop it and make it again"
        found.append(Health(Level.RED, reason))
    if missing:
        reason = f"{missing[0].label} is often read whole: look at the suggested indexes"
        found.append(Health(Level.YELLOW, reason))
    if sum(one.size for one in useless) >= indexes.UNUSED_FROM:
        reason = f"{len(useless)} indexes cost every write and help no read"
        found.append(Health(Level.YELLOW, reason))
    return found


def _missing(found: list[Missing]) -> Table:
    rows = [
        Row(
            {
                "table": one.label,
                "rows": one.rows,
                "sequential": one.sequential_scans,
                "indexed": one.index_scans,
                "read": one.read,
            },
            reverse("console:suggestions"),
            Level.YELLOW,
        )
        for one in found
    ]
    return Table("missing", "Missing", MISSING, rows, "No large table is often read whole.")


def _unused(name: str, title: str, found: list[Index], empty: str) -> Table:
    rows = [
        Row({"index": one.name, "table": one.table_label, "size": one.size}, level=Level.YELLOW)
        for one in found
    ]
    return Table(name, title, UNUSED, rows, empty)


def _duplicates(found: list[Duplicate]) -> Table:
    largest = sorted(found, key=lambda one: -one.index.size)[:MOST_SHOWN]
    rows = [
        Row(
            {
                "index": one.index.name,
                "table": one.index.table_label,
                "covered": one.covered_by.name,
                "size": one.index.size,
            },
            level=Level.YELLOW if one.index.size >= indexes.UNUSED_FROM else Level.GREEN,
        )
        for one in largest
    ]
    return Table("duplicates", "Duplicates", DUPLICATE, rows, "No index does another one's work.")
