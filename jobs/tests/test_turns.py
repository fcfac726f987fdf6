"""A worker's loop goes on while it reads pages that came all at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from jobs.engine import turns
from jobs.engine.turns import LONGEST_TURN, Turns

if TYPE_CHECKING:
    from collections.abc import Callable

PAGES = 9


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Work for so many seconds, on a clock that nothing else moves."""
    clock = [100.0]

    def work_for(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(turns, "perf_counter", lambda: clock[0])
    return work_for


async def events(work: Callable[[float], None], seconds: float) -> list[str]:
    """What a loop does that has PAGES to read, each for `seconds`, and something else to do."""
    seen: list[str] = []
    turns_of_loop = Turns()

    async def read(number: int) -> None:
        await turns_of_loop.wait()
        work(seconds)
        seen.append(str(number))

    async def something_else() -> None:
        while True:
            seen.append("-")
            await asyncio.sleep(0)

    other = asyncio.create_task(something_else())
    await asyncio.gather(*(read(number) for number in range(PAGES)))
    other.cancel()
    return seen


async def test_the_loop_does_something_else_between_pages_that_take_a_turn_each(
    work: Callable[[float], None],
) -> None:
    seen = "".join(await events(work, LONGEST_TURN)).strip("-")
    assert seen == "-".join(str(number) for number in range(PAGES))


async def test_pages_that_are_read_quickly_share_a_turn(work: Callable[[float], None]) -> None:
    seen = "".join(await events(work, LONGEST_TURN / 2.5)).strip("-")
    assert seen == "012-345-678"


async def test_the_next_page_does_not_wait_for_one_that_was_given_up(
    work: Callable[[float], None],
) -> None:
    turns_of_loop = Turns()
    given_up = asyncio.create_task(turns_of_loop.wait())
    await asyncio.sleep(0)
    given_up.cancel()
    async with asyncio.timeout(5):
        await turns_of_loop.wait()
