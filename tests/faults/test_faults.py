"""The fault matrix in its short form; `make faults` is the long one."""

import pytest

from tests.faults.matrix import run_row
from tests.faults.scenarios import ROWS

pytestmark = pytest.mark.xdist_group("faults")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_must_hold_does_hold_after(rig, row):
    if row.waits_for:
        pytest.skip(f"waits for {row.waits_for}")
    outcome = run_row(rig, row)
    assert outcome.is_clean, outcome


@pytest.mark.timeout(240)
def test_every_end_is_told_of_in_spite_of_all_that(rig):
    rig.fleet.worker()
    rig.jobs.wait_until_told()
