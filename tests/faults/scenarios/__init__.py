"""The rows of the fault matrix: what goes wrong, when, and what must hold of it alone.

What must hold after every one, the invariants, `tests.faults.matrix` checks.
"""

from tests.faults.scenarios import pauses, postgresql, strangers, submissions, valkey, workers
from tests.faults.scenarios.row import ROWS

__all__ = ["ROWS", "pauses", "postgresql", "strangers", "submissions", "valkey", "workers"]
