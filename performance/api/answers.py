"""What the performance API gives, as pydantic models: its documentation."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

UNIT = (
    "number, ms, seconds, bytes, percent, per second; time is a moment, code an identifier, bar "
    "what most of a duration went to, and empty is text."
)


class PerformanceHealth(BaseModel):
    """A verdict, and why."""

    level: Literal["green", "yellow", "red"]
    reason: str


class PerformanceFact(BaseModel):
    """One number."""

    label: str
    value: float | str | None
    unit: str = Field(description=UNIT)
    level: Literal["green", "yellow", "red"]
    is_estimated: bool = Field(description="Extrapolated from a part of the traffic.")


class PerformanceColumn(BaseModel):
    """What a member of each row means."""

    key: str
    label: str
    unit: str = Field(description=UNIT)


class PerformanceTable(BaseModel):
    """A list of objects; `columns` says what their members are."""

    name: str
    title: str
    columns: list[PerformanceColumn]
    rows: list[dict[str, Any]]


class PerformanceCard(BaseModel):
    """A card of the console."""

    name: str
    title: str
    health: PerformanceHealth | None
    facts: list[PerformanceFact]
    tables: list[PerformanceTable]
    note: str = Field(description="Explains the numbers, or says what to do when there are none.")
    error: str = Field(description="Why the card cannot be read; empty when it can.")


class PerformanceDocument(BaseModel):
    """Cards over a window."""

    as_of: datetime
    period: Literal["1h", "6h", "24h", "7d"]
    process: str
    cards: list[PerformanceCard]


class MonitoredCard(BaseModel):
    """A card in brief."""

    name: str
    title: str
    level: Literal["green", "yellow", "red"]
    reason: str
    facts: list[PerformanceFact]


class MonitorDocument(BaseModel):
    """How everything is now, the worst first; `level` is the worst of all."""

    as_of: datetime
    level: Literal["green", "yellow", "red"]
    cards: list[MonitoredCard]


class PreviewFigure(BaseModel):
    """A number that says what would happen."""

    label: str
    value: float | str | None
    unit: str = Field(description=UNIT)


class PreviewDocument(BaseModel):
    """What would happen. Nothing has."""

    action: str
    arguments: dict[str, Any]
    dry_run: Literal[True]
    says: str
    figures: list[PreviewFigure]
    warnings: list[str]


class RunLinks(BaseModel):
    """Where to read on."""

    self: str


class RunDocument(BaseModel):
    """An action that was asked for."""

    id: UUID
    action: str
    arguments: dict[str, Any]
    by: str
    asked_at: datetime
    state: Literal["running", "done", "refused", "failed", "interrupted"]
    outcome: str = Field(description="What came of it; how far it is while it runs.")
    seconds: float | None
    links: RunLinks
