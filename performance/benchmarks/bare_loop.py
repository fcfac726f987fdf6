"""The yardstick of `benchmark throughput`: the least code that scrapes the same pages.

aiohttp and selectolax by hand, the same six fields, nothing queued, checked, retried or stored.
With `--own-extractor` the loop borrows the service's extractor and allocator settings: what is
then between it and the worker is the price of being durable alone.
Prints pages a second, timed from the first request to the last record.
"""

# mypy: disable-error-code="union-attr"

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import uvloop
from selectolax.lexbor import LexborHTMLParser

from performance.benchmarks.pages import EXTRACT, listing_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Reader = Callable[[bytes], list[dict[str, Any]]]


def records(body: bytes) -> list[dict[str, Any]]:
    """The product cards of a listing page."""
    found = []
    for card in LexborHTMLParser(body).css("article.product"):
        name = card.css_first("a.name")
        found.append(
            {
                "name": name.text(strip=True),
                "url": name.attributes.get("href"),
                "brand": card.css_first("span.brand").text(strip=True),
                "price": card.css_first("span.price").text(strip=True),
                "rating": card.css_first("span.rating").text(strip=True),
                "stock": card.css_first("span.stock").text(strip=True),
            }
        )
    return found


def own_extractor() -> Reader:
    """The service's way to the same records."""
    from jobs.engine.memory import tune_memory
    from jobs.extraction import ExtractionSpec, build_result, compile_spec, decode_html

    tune_memory()
    extractor = compile_spec(ExtractionSpec.model_validate(EXTRACT))

    def read(body: bytes) -> list[dict[str, Any]]:
        html = decode_html(body, "utf-8")
        result = build_result(html, url="http://site/", extractor=extractor, formats=("data",))
        found: list[dict[str, Any]] = result["data"]
        return found

    return read


async def scrape(urls: Iterator[str], session: aiohttp.ClientSession, read: Reader) -> int:
    """Scrape from the shared list until it is empty; returns the number of records."""
    count = 0
    for url in urls:
        async with session.get(url) as response:
            count += len(read(await response.read()))
    return count


async def main(urls: list[str], concurrency: int, read: Reader) -> None:
    """Scrape all of `urls` and print the rate."""
    shared = iter(urls)
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:
        start = time.perf_counter()
        counts = await asyncio.gather(*(scrape(shared, session, read) for _ in range(concurrency)))
        seconds = time.perf_counter() - start
    if sum(counts) != 40 * len(urls):
        sys.exit(f"expected {40 * len(urls)} records, found {sum(counts)}")
    sys.stdout.write(f"{len(urls) / seconds}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site")
    parser.add_argument("--pages", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--own-extractor", action="store_true")
    options = parser.parse_args()
    reader = own_extractor() if options.own_extractor else records
    uvloop.run(main(listing_urls(options.site, options.pages), options.concurrency, reader))
