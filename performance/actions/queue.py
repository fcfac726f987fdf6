"""The queue, paused and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from django.utils import timezone
from pydantic import Field

from jobs.models import Pause
from jobs.services import pause_queue, resume_queue
from performance.actions.shapes import Action, Figure, Preview
from performance.storage.reading import values

if TYPE_CHECKING:
    from performance.actions.shapes import Work


class PauseQueue(Action):
    """No job begins from then on."""

    name: ClassVar = "pause"
    title: ClassVar = "Pause the queue"
    about: ClassVar = "Lets no job begin. Jobs are still accepted, and what runs finishes."
    is_drastic: ClassVar = True

    reason: Annotated[str, Field(max_length=200)] = ""

    @property
    def target(self) -> str:
        """There is one queue."""
        return "queue"

    def preview(self) -> Preview:
        """What waits and runs now."""
        warnings = ["It is paused already."] * Pause.objects.exists()
        says = "No job begins until the queue is resumed; after an hour the console shows red."
        return Preview(says, _now(), warnings)

    def run(self, work: Work) -> str:
        """Pause it."""
        is_new = pause_queue(by=work.user_id, reason=self.reason)
        return "The queue is paused." if is_new else "The queue was paused already."


class ResumeQueue(Action):
    """Jobs begin again."""

    name: ClassVar = "resume"
    title: ClassVar = "Resume the queue"
    about: ClassVar = "Lets jobs begin again."

    @property
    def target(self) -> str:
        """There is one queue."""
        return "queue"

    def preview(self) -> Preview:
        """For how long it has been paused, and what waits."""
        pause = Pause.objects.first()
        if pause is None:
            return Preview("Nothing changes.", _now(), ["The queue is not paused."])
        seconds = (timezone.now() - pause.began_at).total_seconds()
        return Preview("Jobs begin at once.", [Figure("Paused for", seconds, "seconds"), *_now()])

    def run(self, work: Work) -> str:
        """Resume it."""
        return "Jobs begin again." if resume_queue() else "The queue was not paused."


def _now() -> list[Figure]:
    told: list[dict[str, Any]] = list(values("queue").values())
    state = max(told, key=lambda one: float(one["at"]), default={})
    return [Figure(part.capitalize(), state.get(part)) for part in ("ready", "held", "running")]
