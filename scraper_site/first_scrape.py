"""The proof that a fresh start works: one scrape of the practice site through the REST API."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scraper_site.credentials import Credentials

PAGE = "/catalogue/page-1"
FEED = "/feed.json?page=1"
FIELDS = ("name", "url", "price", "brand", "rating", "stock")
NUMBERS = ("price", "rating")
EXTRACT = {
    "name": "products",
    "baseSelector": "article.product",
    "fields": [
        {"name": "url", "selector": "a.name", "type": "attribute", "attribute": "href"}
        if name == "url"
        else {"name": name, "selector": f".{name}", "type": "text"}
        for name in FIELDS
    ],
}
DEADLINE = 90.0
WAIT = 30
ROWS_SHOWN = 10

Record = dict[str, Any]

# Loopback only: a proxy from the environment would not find it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class FirstScrapeError(Exception):
    """The first scrape brought no result; the message says why."""


class StillWaiting(FirstScrapeError):
    """It has not ended yet: other jobs are before it."""


@dataclass(frozen=True)
class FirstScrape:
    """What the service extracted from a page, and what the site itself says is on it."""

    page: str
    records: Sequence[Record]
    expected: Sequence[Record]

    @property
    def is_right(self) -> bool:
        """Whether both are the same, in the same order."""
        return bool(self.expected) and [
            _comparable(record, self.page) for record in self.records
        ] == [_comparable(product, self.page) for product in self.expected]

    def table(self) -> Table:
        """The first records, for a terminal."""
        table = Table(title="First scrape", caption_justify="left")
        for name in FIELDS:
            justify: Literal["left", "right"] = "right" if name in NUMBERS else "left"
            table.add_column(name, justify=justify, no_wrap=True)
        for record in self.records[:ROWS_SHOWN]:
            table.add_row(*(str(record.get(name, "")) for name in FIELDS))
        more = len(self.records) - ROWS_SHOWN
        if more > 0:
            table.caption = f"… {more} more"
        return table


def run_first_scrape(credentials: Credentials) -> FirstScrape:
    """Submit the job, wait for it, read its result. Raises FirstScrapeError, StillWaiting."""
    api = urljoin(credentials.url, "/api/v1/jobs")
    target = urljoin(credentials.site_url, PAGE)
    body = {"url": target, "extract": EXTRACT, "formats": ["data"]}
    job = fetch_json(api, key=credentials.api_key, body=body)
    deadline = time.monotonic() + DEADLINE
    while job["status"] not in {"succeeded", "failed", "cancelled"}:
        if time.monotonic() > deadline:
            raise StillWaiting(
                f"The first scrape is still {job['status']} after {DEADLINE:g} s:"
                f" see what it waits for at {urljoin(api, job['links']['self'])}/timeline."
            )
        link = urljoin(api, job["links"]["self"])
        job = fetch_json(f"{link}?wait={WAIT}", key=credentials.api_key)
    if job["status"] != "succeeded":
        error = job.get("error") or {}
        reason = f"{error.get('code')}: {error.get('message')}"
        raise FirstScrapeError(f"The first scrape {job['status']}, {reason}")
    result = fetch_json(urljoin(api, job["links"]["result"]), key=credentials.api_key)
    feed = fetch_json(urljoin(credentials.site_url, FEED))
    return FirstScrape(page=target, records=result["data"], expected=feed["products"])


def _comparable(record: Record, base: str) -> Record:
    """Our fields alone, with the link made absolute."""
    return {name: record.get(name) for name in FIELDS} | {"url": urljoin(base, record.get("url"))}


def fetch_json(url: str, *, key: str = "", body: Record | None = None) -> Any:
    """The JSON at an address, after posting a body if there is one. Raises FirstScrapeError."""
    headers = {"Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - loopback
    try:
        with _opener.open(request, timeout=WAIT + 15) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(2000).decode(errors="replace")
        raise FirstScrapeError(f"{url} answered {error.code}: {text}") from None
    except (OSError, ValueError) as error:
        raise FirstScrapeError(f"{url} does not answer as expected: {error}") from None


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with _opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
