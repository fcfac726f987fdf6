"""One rig for all tests of the suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def rig() -> Iterator[Rig]:
    """A rig whose scenarios are cut short."""
    with Rig() as rig:
        yield rig
