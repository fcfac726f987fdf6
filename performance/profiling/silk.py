"""django-silk as the place where captured requests are kept and shown.

Its pages and tables are used, its middleware is not: once that has recorded a request, it compiles
every later query of the process twice, asks PostgreSQL to explain each, sees neither raw SQL nor
INSERTs, and writes several times a request, while somebody waits.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from django.db import transaction
from django.db.models import Count, F, Func, QuerySet, Sum, TextField, Value
from silk.models import Request, Response, SQLQuery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from performance.models import Capture
    from performance.profiling.requests import Profile, Query

NAMESPACE = UUID("5f6e4c1a-2f3c-4d0e-9f4b-7c1d8f0a6b21")
# As wide as silk's columns are.
LONGEST = 190
# What begins a query's values, behind its text.
VALUES = "\n/* values: "


def request_id(capture: int, number: int) -> str:
    """Which of silk's requests is the `number`th of a capture: silk has no room for a link."""
    return str(uuid5(NAMESPACE, f"{capture}/{number}"))


def requests_of(capture: Capture) -> QuerySet[Any]:
    """The requests of a capture that are kept, as silk has them, in the order they came."""
    numbers = range(1, capture.limits.get("requests", 0) + 1)
    keys = [request_id(capture.pk, number) for number in numbers]
    found: QuerySet[Any] = Request.objects.filter(pk__in=keys).select_related("response")
    return found.order_by("start_time")


def queries_of(capture: Capture, most: int = 25) -> list[dict[str, Any]]:
    """What the requests of a capture asked, whatever the values, those first that took most.

    Each with `sql`, `count` and `milliseconds`.
    """
    without_values = Func(
        F("query"), Value(VALUES), Value(1), function="split_part", output_field=TextField()
    )
    found = SQLQuery.objects.filter(request__in=requests_of(capture)).annotate(sql=without_values)
    lines = found.values("sql").annotate(count=Count("pk"), milliseconds=Sum("time_taken"))
    return list(lines.order_by("-milliseconds", "sql")[:most])


def write(profile: Profile) -> None:
    """Keep a captured request, in four statements, without headers and bodies."""
    key = request_id(profile.capture, profile.number)
    request = Request(
        id=key,
        path=profile.path[:LONGEST],
        method=profile.method[:10],
        view_name=profile.view[:LONGEST],
        start_time=profile.began,
        end_time=profile.began + timedelta(milliseconds=profile.milliseconds),
        time_taken=profile.milliseconds,
        num_sql_queries=profile.count,
    )
    queries = [query_row(request, number, query) for number, query in enumerate(profile.queries, 1)]
    response = Response(id=key, request=request, status_code=profile.status, encoded_headers="{}")
    with transaction.atomic():
        Request.objects.bulk_create([request])
        Response.objects.bulk_create([response])
        # silk's own manager would update the request once for each query.
        QuerySet(SQLQuery).bulk_create(queries)


def query_row(request: Any, number: int, query: Query) -> Any:
    """One query as silk has it."""
    values = f"{VALUES}{str(query.values).replace('*/', '* /')} */" if query.values else ""
    return SQLQuery(
        request=request,
        identifier=number,
        query=(query.sql + values).replace("\0", ""),
        start_time=query.began,
        end_time=query.began + timedelta(milliseconds=query.milliseconds),
        time_taken=query.milliseconds,
        traceback=stack_text((code.co_filename, line) for code, line in query.lines),
    )


def stack_text(lines: Iterable[tuple[str, int]]) -> str:
    """A stack as silk reads it: of two lines of text a frame, it shows the first as a link."""
    return "\n".join(f'  File "{file}", line {line}\n' for file, line in lines)
