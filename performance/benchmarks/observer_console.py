"""How fast the console shows seven days of a busy fleet; a part of `benchmark observer`."""

from __future__ import annotations

import statistics
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse

from performance.benchmarks import busy_fleet, busy_states
from performance.benchmarks.report import Row, judged
from performance.console.pages import CARDS
from performance.console.rendering import rendered
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from performance.cards.shapes import Card

# Milliseconds of server time.
OVERVIEW, CARD = 200, 50
ROUNDS = 9


class Work(NamedTuple):
    """What is measured, how many milliseconds it may take, and in which window."""

    metric: str
    most: int
    period: str


def console_rows(keys: int | None) -> list[Row]:
    """Server time of the overview and of each card in its slowest window, medians of several."""
    # The measured processes were watched too.
    busy_fleet.clear()
    began = perf_counter()
    number = busy_fleet.make(keys)
    rows = [
        Row("rows of a busy fleet", number, "rows"),
        Row("made in", perf_counter() - began, "s"),
    ]
    browser = Browser(HTTP_HOST="127.0.0.1")
    browser.force_login(User.objects.create_superuser("observer"))

    def overview(period: str) -> None:
        answer = browser.get(reverse("console:overview"), {"period": period})
        if answer.status_code != 200:
            raise RuntimeError(f"the overview answers {answer.status_code}")

    works: dict[Work, Callable[[], object]] = {
        Work(f"overview, {period}", OVERVIEW, period): partial(overview, period)
        for period in ("1h", "7d")
    }
    for name, card in CARDS.items():
        for period in PERIODS.values():
            work = Work(f"card {name}, slowest window", CARD, period.name)
            works[work] = partial(shown, card, Scope(period))
    slowest: dict[tuple[str, int], float] = {}
    for work, took in usual(works).items():
        slowest[work[:2]] = max(took, slowest.get(work[:2], 0.0))
    return rows + [
        judged(metric, took, "ms", "≤", most) for (metric, most), took in slowest.items()
    ]


def shown(card: Card, scope: Scope) -> None:
    """Read a card and draw it. Raises RuntimeError when it has nothing to show."""
    (one,) = rendered([card], scope)
    if one.error or one.content.empty:
        raise RuntimeError(f"card {card.name} is not measured: {one.error or one.content.empty}")


def usual(works: Mapping[Work, Callable[[], object]]) -> dict[Work, float]:
    """Milliseconds of each, the median of several rounds of all.

    In turns, so that what else keeps the machine busy for a second is seen by each of them once.
    """
    took: dict[Work, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            busy_states.speak()
            began = perf_counter()
            work()
            took[name].append(perf_counter() - began)
    return {name: statistics.median(times) * 1000 for name, times in took.items()}
