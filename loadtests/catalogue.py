"""The practice site's products: invented, seeded, the same on every machine."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

PRODUCTS = 3000
SEED = 7
PAGE_SIZE = 40

# An ampersand, umlauts and an apostrophe: escaping and encoding are part of the exercise.
_BRANDS = ("Northwind", "Müller & Söhne", "Acorn", "Brightside", "Kestrel", "O'Hara", "Lumen")
_QUALITIES = ("Compact", "Deluxe", "Everyday", "Foldable", "Heavy-Duty", "Portable", "Silent")
_MATERIALS = ("Aluminium", "Bamboo", "Ceramic", "Cotton", "Oak", "Steel", "Wool")
_THINGS = ("Backpack", "Desk Lamp", "Kettle", "Notebook", "Office Chair", "Teapot", "Umbrella")
_CURRENCIES = ("EUR", "USD", "GBP")
_STOCKS = ("in stock", "in stock", "in stock", "few left", "sold out")


@dataclass(frozen=True, slots=True)
class Product:
    """One product; every field as it is written on the site, before HTML escaping."""

    sku: str
    name: str
    brand: str
    price: str
    currency: str
    rating: str
    stock: str
    description: str

    @property
    def path(self) -> str:
        """The path of the detail page."""
        return f"/products/{self.sku}"

    @property
    def image(self) -> str:
        """The path of the picture (which is linked, not served)."""
        return f"/images/{self.sku}.jpg"


@lru_cache(maxsize=4)
def catalogue(products: int = PRODUCTS, seed: int = SEED) -> tuple[Product, ...]:
    """Return `products` products, the same ones for the same seed."""
    # Only random(): the one method whose sequence Python promises to keep between releases.
    draw = random.Random(seed).random

    def pick(options: tuple[str, ...]) -> str:
        return options[int(draw() * len(options))]

    def product(number: int) -> Product:
        brand, material, thing = pick(_BRANDS), pick(_MATERIALS), pick(_THINGS)
        name = f"{pick(_QUALITIES)} {material} {thing} {number}"
        return Product(
            sku=f"P{number:06d}",
            name=name,
            brand=brand,
            price=f"{3 + draw() * 496:.2f}",
            currency=pick(_CURRENCIES),
            rating=f"{1 + draw() * 4:.1f}",
            stock=pick(_STOCKS),
            description=f"{name} by {brand}: {material.lower()}, made to last & easy to clean.",
        )

    return tuple(product(number) for number in range(1, products + 1))


def page_count(products: int = PRODUCTS) -> int:
    """Return how many listing pages hold that many products; an empty site has one."""
    return max(1, -(-products // PAGE_SIZE))


def products_on_page(
    page: int, *, products: int = PRODUCTS, seed: int = SEED
) -> tuple[Product, ...]:
    """Return the products of listing page `page`, counted from 1; none beyond the last."""
    return catalogue(products, seed)[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]


def expected_records(
    page: int, *, products: int = PRODUCTS, seed: int = SEED
) -> list[dict[str, str]]:
    """Return the records of listing page `page`, in order, as a parser reads them.

    Keys: name, url (the `href`, a path), price, brand, rating, stock; all strings.
    """
    return [
        {
            "name": product.name,
            "url": product.path,
            "price": product.price,
            "brand": product.brand,
            "rating": product.rating,
            "stock": product.stock,
        }
        for product in products_on_page(page, products=products, seed=seed)
    ]
