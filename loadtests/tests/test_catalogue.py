from __future__ import annotations

import pytest
from selectolax.lexbor import LexborHTMLParser, LexborNode

from loadtests.catalogue import PRODUCTS, catalogue, expected_records, page_count, products_on_page
from loadtests.site_pages import render_site

SELECTORS = {
    "name": "a.name",
    "url": "a.name",
    "price": ".price",
    "brand": ".brand",
    "rating": ".rating",
    "stock": ".stock",
}


def read_card(card: LexborNode) -> dict[str, str | None]:
    nodes = {field: card.css_first(selector, strict=True) for field, selector in SELECTORS.items()}
    assert all(nodes.values())
    return {
        field: node.attributes["href"] if field == "url" else node.text()
        for field, node in nodes.items()
        if node
    }


def test_the_same_seed_gives_the_same_products_and_another_seed_others() -> None:
    first = catalogue(100, 7)
    catalogue.cache_clear()
    assert catalogue(100, 7) == first
    assert catalogue(100, 8) != first


def test_the_default_catalogue_never_changes() -> None:
    product = catalogue()[0]
    assert len(catalogue()) == PRODUCTS
    assert (product.sku, product.name, product.price) == (
        "P000001",
        "Compact Bamboo Office Chair 1",
        "268.80",
    )


def test_every_product_stands_on_one_page() -> None:
    shown = [product for page in range(1, 76) for product in products_on_page(page)]
    assert page_count() == 75
    assert tuple(shown) == catalogue()
    assert expected_records(76) == []


@pytest.mark.parametrize(("products", "pages"), [(0, 1), (1, 1), (40, 1), (41, 2)])
def test_pages_hold_forty_products(products: int, pages: int) -> None:
    assert page_count(products) == pages


@pytest.mark.parametrize("page", [1, 37, 75])
def test_a_listing_page_holds_exactly_the_expected_records(page: int) -> None:
    site = render_site("http://practice.test/", 3000, 7)
    tree = LexborHTMLParser(site[f"/catalogue/page-{page}"].body)
    records = [read_card(card) for card in tree.css("article.product")]
    assert len(records) == 40
    assert records == expected_records(page)


def test_every_listing_page_weighs_thirteen_to_fourteen_kilobytes() -> None:
    site = render_site("http://practice.test/", 3000, 7)
    sizes = [len(page.body) for path, page in site.items() if path.startswith("/catalogue/")]
    assert 13_000 <= min(sizes) <= max(sizes) <= 14_000
