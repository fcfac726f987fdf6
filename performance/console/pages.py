"""Which cards stand on which page: the whole console at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from performance.cards.requests import RequestsCard

if TYPE_CHECKING:
    from performance.cards.shapes import Card


@dataclass(frozen=True, slots=True)
class Page:
    """`slug` is its address, `about` says in a sentence what it answers."""

    slug: str
    title: str
    about: str
    cards: tuple[Card, ...]


OVERVIEW = Page("", "Overview", "Is everything well, and if not, where to look.", (RequestsCard(),))

PAGES = {
    page.slug: page
    for page in (
        OVERVIEW,
        Page("requests", "Requests", "What users wait for, by view.", (RequestsCard(),)),
    )
}
CARDS = {card.name: card for page in PAGES.values() for card in page.cards}
