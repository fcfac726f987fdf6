"""Fixtures for the tests of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jobs.conf import job_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def configure(settings: Any) -> Iterator[Callable[..., None]]:
    """Sets what operators set, until the test ends."""

    def configure(**values: object) -> None:
        settings.JOBS = settings.JOBS | values
        job_settings.cache_clear()

    yield configure
    job_settings.cache_clear()
