"""Here the processes of the service are watched, as they are everywhere but in other tests."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from performance.analysis.bottlenecks.evidence import Evidence
from performance.recording.process import governor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.support import Service

WATCHED = {"PERFORMANCE_ENABLED": "true"}


@pytest.fixture(autouse=True)
def _everything_is_looked_at() -> None:
    """Whatever the tests before have cost."""
    governor.rate = 1.0


@pytest.fixture(scope="session")
def start_worker(start_worker: Callable[..., Service]) -> Callable[..., Service]:
    """Starts worker processes that are watched."""
    return partial(start_worker, **WATCHED)


@pytest.fixture(scope="session")
def start_web(
    start_web: Callable[..., AbstractContextManager[str]],
) -> Callable[..., AbstractContextManager[str]]:
    """Starts web servers that are watched."""
    return partial(start_web, **WATCHED)


@pytest.fixture
def web(start_web: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """The base URL of a watched web server, which is gone after the test."""
    with start_web() as base:
        yield base


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Gives the machines of every role so many cores."""

    def cores(number: int) -> None:
        monkeypatch.setattr(Evidence, "cores", lambda *_: number)

    return cores
