"""Verdicts that several cards give, and one out of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.cards.shapes import Health, Level

if TYPE_CHECKING:
    from collections.abc import Sequence


# Per cent, and blocks below which a ratio says nothing.
LOW_HIT_RATIO, FEW_BLOCKS = 99.0, 10_000


def is_cold(hit: int, read: int) -> bool:
    """Whether too few of the blocks that were asked for were found in PostgreSQL's own memory."""
    asked = hit + read
    return asked > FEW_BLOCKS and 100 * hit / asked < LOW_HIT_RATIO


def worst(complaints: Sequence[Health], otherwise: str) -> Health:
    """The worst of them and how many more there are; green when there are none."""
    if not complaints:
        return Health(Level.GREEN, otherwise)
    first = max(complaints, key=lambda one: one.level)
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return Health(first.level, f"{first.reason}{more}")
