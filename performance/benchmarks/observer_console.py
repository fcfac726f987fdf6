"""How fast the console shows seven days of a busy fleet; a part of `benchmark observer`."""

from __future__ import annotations

import statistics
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

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
    from collections.abc import Callable

    from performance.cards.shapes import Card

# Milliseconds of server time.
OVERVIEW, CARD = 200, 50
TIMES = 5


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

    for period in ("1h", "7d"):
        took = usual(partial(overview, period))
        rows.append(judged(f"overview, {period}", took, "ms", "≤", OVERVIEW))
    for name, card in CARDS.items():
        times = [usual(partial(shown, card, Scope(one))) for one in PERIODS.values()]
        rows.append(judged(f"card {name}, slowest window", max(times), "ms", "≤", CARD))
    return rows


def shown(card: Card, scope: Scope) -> None:
    """Read a card and draw it. Raises RuntimeError when it has nothing to show."""
    (one,) = rendered([card], scope)
    if one.error or one.content.empty:
        raise RuntimeError(f"card {card.name} is not measured: {one.error or one.content.empty}")


def usual(work: Callable[[], object], times: int = TIMES) -> float:
    """Milliseconds of it, the median of so many times."""
    took = []
    for _ in range(times):
        busy_states.speak()
        began = perf_counter()
        work()
        took.append(perf_counter() - began)
    return statistics.median(took) * 1000
