from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from scraper_site import first_scrape
from scraper_site.credentials import Credentials
from scraper_site.first_scrape import (
    FIELDS,
    FirstScrape,
    FirstScrapeError,
    StillWaiting,
    answers,
    fetch_json,
    run_first_scrape,
)

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "http://127.0.0.1:8801/catalogue/page-1"
NOBODY = "http://127.0.0.1:1/"


def product(number: int, **changes: str) -> dict[str, str]:
    return {name: f"{name} {number}" for name in FIELDS} | {"url": f"/products/{number}"} | changes


def test_records_are_right_when_the_site_says_the_same() -> None:
    expected = [product(1, sku="P1"), product(2, sku="P2")]
    assert FirstScrape(PAGE, [product(1), product(2)], expected).is_right


def test_a_link_may_be_given_whole() -> None:
    whole = product(1, url="http://127.0.0.1:8801/products/1")
    assert FirstScrape(PAGE, [whole], [product(1)]).is_right


@pytest.mark.parametrize(
    "records",
    [[], [product(1)], [product(2), product(1)], [product(1), product(2, price="0")]],
    ids=["none", "one missing", "another order", "another price"],
)
def test_other_records_are_not_right(records: list[dict[str, str]]) -> None:
    assert not FirstScrape(PAGE, records, [product(1), product(2)]).is_right


def test_a_site_without_products_proves_nothing() -> None:
    assert not FirstScrape(PAGE, [], []).is_right


def test_the_table_shows_ten_rows_and_counts_the_rest() -> None:
    records = [product(number) for number in range(40)]
    stream = io.StringIO()
    Console(file=stream, width=120).print(FirstScrape(PAGE, records, records).table())
    assert "name 9 " in stream.getvalue()
    assert "name 10" not in stream.getvalue()
    assert "… 30 more" in stream.getvalue()


def test_an_address_where_nobody_listens_does_not_answer() -> None:
    assert not answers(NOBODY)


def test_an_api_that_does_not_answer_is_named() -> None:
    with pytest.raises(FirstScrapeError, match=NOBODY):
        fetch_json(NOBODY)


def test_a_first_scrape_behind_many_jobs_is_told_as_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = {"status": "queued", "links": {"self": "/api/v1/jobs/1"}}
    monkeypatch.setattr(first_scrape, "fetch_json", lambda *_, **__: job)
    monkeypatch.setattr(first_scrape, "DEADLINE", -1.0)
    credentials = Credentials.load_or_create(tmp_path, url=NOBODY, site_url=NOBODY)
    with pytest.raises(StillWaiting, match=r"still queued.*/api/v1/jobs/1/timeline"):
        run_first_scrape(credentials)
