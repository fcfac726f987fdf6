"""What staff can do with rows: bounded, told, and recorded with who did it and when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest, HttpResponse

MOST_AT_ONCE = 1_000

Row = TypeVar("Row", bound="Model")


@dataclass(slots=True)
class Outcome:
    """What became of an act.

    `done` has the rows that it changed, each with what its history says of it; `left` why it left
    others as they are. A `response` is shown instead of the page that the act was called from.
    """

    done: Sequence[tuple[Model, str]] = ()
    left: Counter[str] = field(default_factory=Counter)
    response: HttpResponse | None = None


class Left(Exception):
    """Why a row was left as it is, as messages say it after "3 "."""


def one_by_one(rows: Sequence[Row], change: Callable[[Row], str]) -> Outcome:
    """Change each row; `change` returns what its history says of it, or raises Left."""
    done: list[tuple[Model, str]] = []
    left = Counter[str]()
    for row in rows:
        try:
            done.append((row, change(row)))
        except Left as reason:
            left[str(reason)] += 1
    return Outcome(done, left)


def everywhere(_row: Any) -> bool:
    """An act that no row's state speaks against."""
    return True


@dataclass(frozen=True, slots=True)
class Act:
    """Something to do with rows; `done` is how messages say that it was, as in "3 cancelled".

    `applies` tells on whose page there is a button. What `run` gets may have changed since then.
    `also` are further permissions that it takes.
    """

    name: str
    label: str
    done: str
    permission: str
    run: Callable[[HttpRequest, Sequence[Any]], Outcome]
    applies: Callable[[Any], bool] = everywhere
    also: tuple[str, ...] = ()

    def is_allowed(self, request: HttpRequest) -> bool:
        """Whether the user may do it."""
        return all(request.user.has_perm(one) for one in (self.permission, *self.also))


def perform(act: Act, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
    """Do it with the first MOST_AT_ONCE rows, record it and say what happened."""
    found = list(rows[: MOST_AT_ONCE + 1])
    with transaction.atomic():
        outcome = act.run(request, found[:MOST_AT_ONCE])
        record(request, outcome)
    level = messages.SUCCESS if outcome.done else messages.WARNING
    sentences = [f"{len(outcome.done):,} {act.done}."]
    sentences += [f"{count:,} {reason}." for reason, count in outcome.left.items()]
    if len(found) > MOST_AT_ONCE:
        sentences.append(f"Only the first {MOST_AT_ONCE:,} were taken: do it again for the rest.")
    messages.add_message(request, level, " ".join(sentences))
    return outcome.response


def record(request: HttpRequest, outcome: Outcome) -> None:
    """Write into each row's history what was done with it."""
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=int(request.user.pk or 0),
            content_type=ContentType.objects.get_for_model(row),
            object_id=str(row.pk),
            object_repr=str(row)[:200],
            action_flag=CHANGE,
            change_message=message,
        )
        for row, message in outcome.done
    )
