"""Everything that the console can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from performance.actions.caching import Clear, Warm
from performance.actions.indexes import CreateIndex
from performance.actions.queue import PauseQueue, ResumeQueue
from performance.actions.sampling import EndSampling, SetSampling
from performance.actions.statistics import ResetStatistics
from performance.actions.tables import Analyze, Vacuum

if TYPE_CHECKING:
    from performance.actions.shapes import Action

ACTIONS: dict[str, type[Action]] = {
    action.name: action
    for action in (
        *(Vacuum, Analyze, CreateIndex, ResetStatistics),
        *(Warm, Clear),
        *(PauseQueue, ResumeQueue),
        *(SetSampling, EndSampling),
    )
}
