"""How much of the traffic is looked at in detail, set for the fleet and for a time."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from cachelayer.layer import cache_layer
from performance.actions.shapes import Action, Figure, Preview, Work
from performance.conf import performance_settings
from performance.recorders.sampling import end_override, override, present_override
from performance.recording.governor import LOWEST_RATE
from performance.storage.reading import values

MINUTE = 60


class SetSampling(Action):
    """Sets the rate."""

    name: ClassVar = "sampling"
    title: ClassVar = "Change sampling"
    about: ClassVar = "Sets the share of requests that are looked at in detail, for a time."

    rate: Annotated[float, Field(ge=LOWEST_RATE, le=1)] = 1.0
    minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 15

    @property
    def target(self) -> str:
        """There is one rate."""
        return "sampling"

    def preview(self) -> Preview:
        """What is looked at now, and what watching would cost at most. Raises Unavailable."""
        processes = list(values("process").values())
        costs = [one["cost"] * max(self.rate / one["rate"], 1) for one in processes]
        most = 100 * max(costs, default=0.0)
        budget = 100 * performance_settings().most_cost
        warnings = ["Above the budget: no process may look at less meanwhile."] * (most > budget)
        return Preview(
            f"Every process looks at {100 * self.rate:.0f} % of requests for {self.minutes} "
            "minutes; then each decides by its cost again. Counts are exact at any rate.",
            [
                *_now(processes),
                Figure("Dearest process then, at most", most, "percent"),
                Figure("Budget", budget, "percent"),
            ],
            warnings,
        )

    def run(self, work: Work) -> str:
        """Tell the fleet."""
        override(cache_layer().remote, self.rate, self.minutes * MINUTE)
        return f"Every process knows within seconds: {100 * self.rate:.0f} % of requests."


class EndSampling(Action):
    """Lets the governors decide again."""

    name: ClassVar = "end_sampling"
    title: ClassVar = "End changed sampling"
    about: ClassVar = "Lets each process decide by its cost again how much it looks at."

    @property
    def target(self) -> str:
        """There is one rate."""
        return "sampling"

    def preview(self) -> Preview:
        """What is set. Raises Unavailable."""
        found = present_override(cache_layer().remote)
        left = [Figure("Would last", found.left, "seconds")] if found else []
        warnings = [] if found else ["Nothing is set: each process decides already."]
        says = "Each process decides by its cost how much it looks at."
        return Preview(says, [*_now(list(values("process").values())), *left], warnings)

    def run(self, work: Work) -> str:
        """Tell the fleet."""
        end_override(cache_layer().remote)
        return "Each process decides by its cost within seconds."


def _now(processes: list[dict[str, float]]) -> list[Figure]:
    rates = [100 * one["rate"] for one in processes]
    costs = [100 * one["cost"] for one in processes]
    return [
        Figure("Processes", len(processes)),
        Figure("Lowest rate now", min(rates, default=None), "percent"),
        Figure("Dearest process now", max(costs, default=None), "percent"),
    ]
