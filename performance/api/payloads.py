"""What the performance API takes, as pydantic models: its checks and its documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from jobs.api.parsers import problem_of
from jobs.api.payloads import Payload
from performance.actions.registry import ACTIONS
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope

if TYPE_CHECKING:
    from performance.actions.shapes import Action


class Window(Payload):
    """What is looked at."""

    period: Literal["1h", "6h", "24h", "7d"] = Field(
        default="1h", description="The window, up to now."
    )
    process: str = Field(
        default="",
        max_length=200,
        description="One process, as the card `processes` names it; empty: the whole fleet. Single "
        "processes are kept for 6 hours.",
    )

    @property
    def scope(self) -> Scope:
        """As cards take it."""
        return Scope(PERIODS[self.period], self.process)


class Deed(Payload):
    """Something to do, or with `dry_run` only to be told of."""

    dry_run: bool = Field(
        default=True, description="Only say what would happen. Give `false` to have it done."
    )

    def wanted(self) -> Action:
        """The action with its arguments. Raises InvalidPayload."""
        arguments = self.model_dump(exclude={"action", "dry_run"}, exclude_none=True)
        try:
            return ACTIONS[self.action].model_validate(arguments)  # type: ignore[attr-defined]
        except ValidationError as error:
            raise problem_of(error) from None


class DatabaseDeed(Deed):
    """Something to do to the database."""

    action: Literal["vacuum", "analyze", "create_index", "reset_statistics"]
    table: str | None = Field(
        default=None,
        max_length=200,
        description="For `vacuum` and `analyze`; with its schema where that is not `public`.",
    )
    index: str | None = Field(
        default=None, max_length=63, description="For `create_index`: one that is suggested."
    )


class CachingDeed(Deed):
    """Something to do to the cache."""

    action: Literal["warm", "clear"]
    namespace: str = Field(
        max_length=200,
        description="For `clear` a namespace with entries, for `warm` the name of a warmer.",
    )
