"""The overview: every page in brief, the worst first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from performance.cards.shapes import Health, Level
from performance.console.pages import CARDS, PAGES
from performance.console.rendering import rendered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from performance.cards.shapes import Fact
    from performance.console.drawing import Drawing
    from performance.console.pages import Page
    from performance.console.rendering import Rendered
    from performance.storage.reading import Scope

MOST_FACTS = 4


@dataclass(frozen=True, slots=True)
class Tile:
    """A page in brief: the worst that its cards say, a few numbers, and a curve."""

    page: Page
    health: Health
    facts: Sequence[Fact]
    chart: Drawing | None
    milliseconds: float


def tiles(scope: Scope, events: Sequence[tuple[datetime, str]]) -> list[Tile]:
    """Those of all pages that have cards, in the order of the pages."""
    cards = rendered(list(CARDS.values()), replace(scope, is_brief=True), events=events)
    by_name = {one.card.name: one for one in cards}
    return [
        tile(page, [by_name[card.name] for card in page.cards])
        for page in PAGES.values()
        if page.cards
    ]


def tile(page: Page, cards: Sequence[Rendered]) -> Tile:
    """One page's. The first card that has any gives the numbers, those that are bad first."""
    facts = next((one.content.facts for one in cards if one.content.facts), ())
    return Tile(
        page,
        max((health(one) for one in cards), key=lambda one: one.level),
        sorted(facts, key=lambda fact: -fact.level)[:MOST_FACTS],
        next((one.charts[0] for one in cards if one.charts), None),
        sum(one.milliseconds for one in cards),
    )


def health(one: Rendered) -> Health:
    """What a card says; one that cannot be read is no good sign."""
    if one.error:
        return Health(Level.YELLOW, one.error.removesuffix("."))
    empty = one.content.empty.removesuffix(".")
    return one.content.health or Health(Level.GREEN, empty or "nothing to report")
