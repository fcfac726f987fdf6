"""The fault matrix in its short form; `make faults` is the long one."""

import pytest

from tests.faults.matrix import run_row
from tests.faults.rig import Rig
from tests.faults.scenarios import ROWS

pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture(scope="module")
def rig():
    with Rig() as rig:
        yield rig


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_must_hold_does_hold_after(rig, row):
    if row.waits_for:
        pytest.skip(f"waits for {row.waits_for}")
    outcome = run_row(rig, row)
    assert outcome.is_clean, outcome
