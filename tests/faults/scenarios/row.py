"""How a row of the fault matrix is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.rig import Rig

Times = dict[str, float]
"""What a row measured: a name and seconds."""


@dataclass(frozen=True)
class Row:
    """One fault at one moment. `waits_for` names what the product lacks for it to be run."""

    fault: str
    moment: str
    run: Callable[[Rig], Times]
    waits_for: str = ""

    @property
    def name(self) -> str:
        """As the report and the tests call it."""
        return f"{self.fault}: {self.moment}" if self.moment else self.fault


ROWS: list[Row] = []


def row(
    fault: str, moment: str = "", *, waits_for: str = ""
) -> Callable[[Callable[[Rig], Times]], Callable[[Rig], Times]]:
    """Register a function as a row of the matrix."""

    def register(run: Callable[[Rig], Times]) -> Callable[[Rig], Times]:
        ROWS.append(Row(fault, moment, run, waits_for))
        return run

    return register
