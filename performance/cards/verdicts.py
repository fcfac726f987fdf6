"""One verdict out of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.cards.shapes import Health, Level

if TYPE_CHECKING:
    from collections.abc import Sequence


def worst(complaints: Sequence[Health], otherwise: str) -> Health:
    """The worst of them and how many more there are; green when there are none."""
    if not complaints:
        return Health(Level.GREEN, otherwise)
    first = max(complaints, key=lambda one: one.level)
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return Health(first.level, f"{first.reason}{more}")
