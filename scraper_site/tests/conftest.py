"""Fixtures for the tests that run real processes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path, because sockets go below it, and not pytest's: root opens it to PostgreSQL."""
    path = Path(tempfile.mkdtemp(prefix="scraper-")).resolve()
    yield path
    shutil.rmtree(path, ignore_errors=True)
