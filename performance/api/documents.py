"""Cards, previews and runs as the documents that the API gives."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from performance.console.overview import health
from performance.console.pages import CARDS
from performance.console.rendering import rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from performance.actions.runs import Run
    from performance.actions.shapes import Action, Preview
    from performance.api.payloads import Window
    from performance.cards.shapes import Fact, Level, Table
    from performance.console.rendering import Rendered
    from performance.storage.reading import Scope

ROOT = "/api/v1/performance"
LEVELS = ("green", "yellow", "red")


def monitor_document(scope: Scope) -> dict[str, Any]:
    """The health of every card, the worst first."""
    brief = replace(scope, is_brief=True)
    cards = [_monitored(one) for one in rendered(list(CARDS.values()), brief)]
    cards.sort(key=lambda one: -LEVELS.index(one["level"]))
    return {"as_of": timezone.now(), "level": cards[0]["level"], "cards": cards}


def cards_document(names: Sequence[str], window: Window) -> dict[str, Any]:
    """Those cards, whole."""
    found = [CARDS[name] for name in names]
    return {
        "as_of": timezone.now(),
        "period": window.period,
        "process": window.process,
        "cards": [_card(one) for one in rendered(found, window.scope)],
    }


def preview_document(action: Action, preview: Preview) -> dict[str, Any]:
    """What would happen."""
    return {
        "action": action.name,
        "arguments": action.model_dump(mode="json"),
        "dry_run": True,
        "says": preview.says,
        "figures": [
            {"label": one.label, "value": plain(one.value), "unit": one.unit}
            for one in preview.figures
        ],
        "warnings": list(preview.warnings),
    }


def run_document(run: Run) -> dict[str, Any]:
    """What was asked for, and what came of it."""
    return {
        "id": run.id,
        "action": run.action,
        "arguments": run.arguments,
        "by": run.by,
        "asked_at": run.asked_at,
        "state": run.state,
        "outcome": run.outcome,
        "seconds": run.seconds,
        "links": {"self": f"{ROOT}/actions/{run.id}"},
    }


def _monitored(one: Rendered) -> dict[str, Any]:
    found = health(one)
    return {
        "name": one.card.name,
        "title": one.card.title,
        "level": level_of(found.level),
        "reason": found.reason,
        "facts": [_fact(fact) for fact in one.content.facts],
    }


def _card(one: Rendered) -> dict[str, Any]:
    said = one.content.health
    return {
        "name": one.card.name,
        "title": one.card.title,
        "health": said and {"level": level_of(said.level), "reason": said.reason},
        "facts": [_fact(fact) for fact in one.content.facts],
        "tables": [_table(table) for table in one.tables],
        "note": one.content.note or one.content.empty,
        "error": one.error,
    }


def _fact(fact: Fact) -> dict[str, Any]:
    return {
        "label": fact.label,
        "value": plain(fact.value),
        "unit": fact.unit,
        "level": level_of(fact.level),
        "is_estimated": fact.is_sampled,
    }


def _table(table: Table) -> dict[str, Any]:
    keys = [column.key for column in table.columns]
    return {
        "name": table.name,
        "title": table.title,
        "columns": [
            {"key": column.key, "label": column.label, "unit": column.unit}
            for column in table.columns
        ],
        "rows": [{key: plain(row.cells.get(key)) for key in keys} for row in table.rows],
    }


def level_of(level: Level) -> str:
    """Its name."""
    return LEVELS[level]


def plain(value: Any) -> Any:
    """What JSON has, or how it reads."""
    if value is None or isinstance(value, bool | int | float | str | datetime):
        return value
    return str(value)
