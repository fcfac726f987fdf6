"""The practice pages that benchmarks scrape, and what they extract from them."""

from __future__ import annotations

import itertools

DISTINCT_PAGES = 75
EXTRACT = {
    "name": "products",
    "baseSelector": "article.product",
    "fields": [
        {"name": "name", "selector": "a.name", "type": "text"},
        {"name": "url", "selector": "a.name", "type": "attribute", "attribute": "href"},
        {"name": "brand", "selector": "span.brand", "type": "text"},
        {"name": "price", "selector": "span.price", "type": "text"},
        {"name": "rating", "selector": "span.rating", "type": "text"},
        {"name": "stock", "selector": "span.stock", "type": "text"},
    ],
}


def listing_urls(site: str, count: int) -> list[str]:
    """`count` listing pages of 40 records each, going round the catalogue."""
    numbers = itertools.islice(itertools.cycle(range(1, DISTINCT_PAGES + 1)), count)
    return [f"{site}/catalogue/page-{number}" for number in numbers]
