"""Lists that stay fast however long they are: nothing is counted, and no page skips rows to begin.

A page begins behind the last row of the one before. How many rows there are is the planner's guess.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, transaction
from django.db.models import Func, OuterRef, Q
from psycopg.errors import QueryCanceled

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet
    from django.http import HttpRequest

    from jobs.admin.base import JobsAdmin

PATIENCE = 3
TOO_SLOW = f"This took longer than {PATIENCE} seconds. Narrow it down by client, host or day."


class EndlessList(ChangeList):
    """Pages by key, in the order of `ModelAdmin.ordering`: unique, and of one direction.

    `p` names the last row of the page before. `has_more` and `is_first` are for the template.
    """

    has_more = False
    is_first = True
    # What Django's ChangeList offers of a paginator and its templates ask for.
    paginator = None
    show_full_result_count = False
    show_admin_actions = True
    model_admin: JobsAdmin
    can_show_all = False
    multi_page = False

    def get_results(self, request: HttpRequest) -> None:
        """Read one page, and give up on what takes too long."""
        self.result_list: Any = []
        self.result_count = 0
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{PATIENCE}s"])
                self._read_page(request)
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            messages.warning(request, TOO_SLOW)
        # Keeps Django from saying beside the search box what would be a guess.
        self.full_result_count = self.result_count

    def _read_page(self, request: HttpRequest) -> None:
        rows = self.queryset
        if last := self._last_row(request):
            rows = rows_after(rows, last, self.model_admin.ordering)
            self.is_first = False
        page = self.model_admin.read_page(self, rows, self.list_per_page + 1)
        self.has_more = len(page) > self.list_per_page
        self.result_list = page[: self.list_per_page]
        self.result_count = len(self.result_list)
        if self.has_more or not self.is_first:
            self.result_count = max(self.result_count + 1, estimate(self.queryset))

    def _last_row(self, request: HttpRequest) -> Model | None:
        key = request.GET.get(PAGE_VAR)
        try:
            return self.root_queryset.filter(pk=key).first() if key else None
        except (ValidationError, ValueError):
            return None

    @property
    def size(self) -> str:
        """How many rows there are, in words."""
        count, shown = self.result_count, len(self.result_list)
        name = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
        if count == shown:
            return f"{count:,} {name}"
        if count == shown + 1:
            # The planner expects fewer than there are.
            return f"more than {shown:,} {name}"
        return f"about {round(count, 2 - len(str(count))):,} {name}"

    @property
    def following(self) -> str:
        """The query string of the next page."""
        return self.get_query_string({PAGE_VAR: self.result_list[-1].pk})

    @property
    def beginning(self) -> str:
        """The query string of the first page."""
        return self.get_query_string()


def rows_after(rows: QuerySet[Any], last: Model, ordering: tuple[str, ...]) -> QuerySet[Any]:
    """Those that come behind a row in an order of one or two columns."""
    lookup = "lt" if ordering[0].startswith("-") else "gt"
    first, *rest = (name.removeprefix("-") for name in ordering)
    behind = Q(**{f"{first}__{lookup}": getattr(last, first)})
    for name in rest:
        behind |= Q(**{first: getattr(last, first), f"{name}__{lookup}": getattr(last, name)})
    # Says the same as the rest of it, in a way that an index can answer.
    return rows.filter(behind, **{f"{first}__{lookup}e": getattr(last, first)})


def estimate(rows: QuerySet[Any]) -> int:
    """How many rows PostgreSQL expects of a query, without reading any."""
    if rows.query.is_empty():
        return 0
    plan = json.loads(rows.order_by().explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])


def first_of_each(
    groups: QuerySet[Any], rows: QuerySet[Any], *, by: str, ordering: tuple[str, ...], most: int
) -> list[Any]:
    """The primary keys of the first `most` rows over all groups; `by` is the rows' foreign key.

    For an index that begins with the group: it is asked once a group for so many rows, instead of
    reading all the rows that match.
    """
    if rows.query.is_empty():
        return []
    of_group = rows.filter(**{by: OuterRef("pk")}).order_by(*ordering)
    names = [name.removeprefix("-") for name in ordering]
    # PostgreSQL unnests arrays of one SELECT side by side.
    columns = {
        f"row_{name}": Func(
            ArraySubquery(of_group.values(name)[:most]),
            function="unnest",
            output_field=rows.model._meta.get_field(name),
        )
        for name in names
    }
    found = groups.order_by().annotate(**columns)
    direction = "-" if ordering[0].startswith("-") else ""
    ordered = found.order_by(*(f"{direction}row_{name}" for name in names))
    return list(ordered.values_list(f"row_{names[-1]}", flat=True)[:most])
