"""The practice site's fixed documents, rendered once into a table of path to document."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from loadtests.catalogue import Product, catalogue, page_count, products_on_page

if TYPE_CHECKING:
    from collections.abc import Iterator

HTML = "text/html; charset=utf-8"
JSON = "application/json"
XML = "application/xml"
TEXT = "text/plain; charset=utf-8"


class Document(NamedTuple):
    """A body and its content type."""

    content_type: str
    body: bytes


def render_site(base_url: str, products: int, seed: int) -> dict[str, Document]:
    """Return every fixed document by its path and query, such as `/feed.json?page=2`.

    `base_url` ends in "/" and is written into robots.txt and the sitemap.
    """
    pages = range(1, page_count(products) + 1)
    site = {
        "/": Document(HTML, _index(pages)),
        "/robots.txt": Document(TEXT, _robots(base_url)),
        "/sitemap.xml": Document(XML, _sitemap(base_url, pages, products, seed)),
        "/private/prices": Document(HTML, _html("Not for robots", "<p>robots.txt says no.</p>")),
    }
    for page in pages:
        shown = products_on_page(page, products=products, seed=seed)
        site[f"/catalogue/page-{page}"] = Document(HTML, _listing(page, len(pages), shown))
        site[f"/feed.json?page={page}"] = Document(JSON, _feed(page, len(pages), shown))
    site["/feed.json"] = site["/feed.json?page=1"]
    for product in catalogue(products, seed):
        site[product.path] = Document(HTML, _detail(product))
    return site


def _html(title: str, main: str, links: str = "") -> bytes:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>{links}</head>\n<body>"
        f'<header><a href="/">Practice shop</a></header>\n<main><h1>{escape(title)}</h1>\n'
        f"{main}\n</main></body></html>\n"
    ).encode()


def _index(pages: range) -> bytes:
    items = "\n".join(
        f'<li><a href="/catalogue/page-{page}">Page {page}</a></li>' for page in pages
    )
    return _html("Practice shop", f"<ul>\n{items}\n</ul>")


def _listing(page: int, last: int, products: tuple[Product, ...]) -> bytes:
    neighbours = [("prev", page - 1)] if page > 1 else []
    neighbours += [("next", page + 1)] if page < last else []
    links = "".join(f'<link rel="{rel}" href="/catalogue/page-{n}">' for rel, n in neighbours)
    anchors = " ".join(
        f'<a class="{rel}" rel="{rel}" href="/catalogue/page-{n}">{rel}</a>'
        for rel, n in neighbours
    )
    cards = "\n".join(_card(product) for product in products)
    return _html(f"Catalogue, page {page} of {last}", f"{cards}\n<nav>{anchors}</nav>", links)


def _card(product: Product) -> str:
    return (
        f'<article class="product" data-sku="{product.sku}">'
        f'<h3><a class="name" href="{product.path}">{escape(product.name)}</a></h3>'
        f'<span class="brand">{escape(product.brand)}</span>'
        f'<span class="price" data-currency="{product.currency}">{product.price}</span>'
        f'<span class="rating">{product.rating}</span>'
        f'<span class="stock">{product.stock}</span>'
        f'<img src="{product.image}" alt="">'
        f"</article>"
    )


def _detail(product: Product) -> bytes:
    description = f'<p class="description">{escape(product.description)}</p>'
    return _html(product.name, f"{_card(product)}\n{description}")


def _feed(page: int, last: int, products: tuple[Product, ...]) -> bytes:
    items = [
        {
            "sku": product.sku,
            "name": product.name,
            "brand": product.brand,
            "price": product.price,
            "currency": product.currency,
            "rating": product.rating,
            "stock": product.stock,
            "url": product.path,
            "image": product.image,
            "description": product.description,
        }
        for product in products
    ]
    return json.dumps({"page": page, "pages": last, "products": items}).encode()


def _robots(base_url: str) -> bytes:
    return (
        "User-agent: *\nDisallow: /private/\n\n"
        "User-agent: slowbot\nDisallow: /private/\nCrawl-delay: 5\n\n"
        f"Sitemap: {base_url}sitemap.xml\n"
    ).encode()


def _sitemap(base_url: str, pages: range, products: int, seed: int) -> bytes:
    def paths() -> Iterator[str]:
        yield ""
        yield from (f"catalogue/page-{page}" for page in pages)
        yield from (product.path[1:] for product in catalogue(products, seed))

    urls = "\n".join(f"<url><loc>{escape(base_url + path)}</loc></url>" for path in paths())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}\n</urlset>\n'
    ).encode()
