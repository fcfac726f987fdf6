"""How the list of jobs is narrowed down, each time in a way that an index can answer."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.utils import timezone

from jobs.errors import ScrapeError
from jobs.fetching.urls import check_url
from jobs.models import Client, Hold, Job, State, first_id_at
from jobs.selectors import CLOCK_TOLERANCE, dead_letters, host_called, host_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.http import HttpRequest

PERIODS = {
    "hour": ("Past hour", timedelta(hours=1)),
    "day": ("Past 24 hours", timedelta(days=1)),
    "week": ("Past 7 days", timedelta(days=7)),
    "month": ("Past 30 days", timedelta(days=30)),
}


class ChoiceFilter(admin.SimpleListFilter):
    """One of a few values; those of `named` are shown by these names."""

    named: dict[str, str] = {}

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        """What can be chosen."""
        return list(self.named.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of the chosen value, all for a value that is none."""
        value = self.value()
        return self.narrowed(queryset, value) if value in self.named else queryset

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows of a value."""
        return rows.filter(**{str(self.parameter_name): value})


class TypedFilter(admin.SimpleListFilter):
    """A value that the user types; `input_type` is HTML's."""

    template = "admin/jobs/typed_filter.html"
    input_type = "text"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        """Nothing to choose from, though Django wants something."""
        return [("", "")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """What the template needs: the value, and what else the list's address has."""
        others = changelist.get_filters_params().items()
        yield {
            "value": self.value() or "",
            "clear": changelist.get_query_string(remove=[str(self.parameter_name)]),
            "others": [
                (name, value)
                for name, values in others
                for value in values
                if name != self.parameter_name
            ],
            "query": changelist.query,
        }


class StateFilter(ChoiceFilter):
    """By state."""

    title = "state"
    parameter_name = "state"
    named = {state.value: str(state.label) for state in State}


class HoldFilter(ChoiceFilter):
    """By what a queued job is held for."""

    title = "hold"
    parameter_name = "hold"
    named = {hold.value: str(hold.label).capitalize() for hold in Hold if hold}

    def narrowed(self, rows: QuerySet[Job], value: str) -> QuerySet[Job]:
        """Only queued jobs are held, and the index has only those."""
        return rows.filter(state=State.QUEUED, hold=value)


class DeadLetterFilter(ChoiceFilter):
    """Jobs that were given up because their workers died."""

    title = "dead letters"
    parameter_name = "dead"
    named = {"yes": "Dead letters only"}

    def narrowed(self, rows: QuerySet[Job], value: str) -> QuerySet[Job]:
        """As the engine defines them."""
        return rows & dead_letters()


class ErrorFilter(ChoiceFilter):
    """By why a job has failed."""

    title = "error"
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        """Every stable code there is."""
        self.named = {code: code for code in sorted(_codes(ScrapeError))}
        return super().lookups(request, model_admin)

    def narrowed(self, rows: QuerySet[Job], value: str) -> QuerySet[Job]:
        """Only failed jobs keep one."""
        return rows.filter(state=State.FAILED, error_code=value)


class CreatedFilter(ChoiceFilter):
    """By how long ago a job was accepted."""

    title = "created"
    parameter_name = "created"
    named = {name: label for name, (label, _) in PERIODS.items()}

    def narrowed(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Ids are ordered by time."""
        start = timezone.now() - PERIODS[value][1]
        return rows.filter(created_at__gte=start, id__gte=first_id_at(start - CLOCK_TOLERANCE))


class DayFilter(TypedFilter):
    """By the day, in UTC, on which a job was accepted."""

    title = "day"
    parameter_name = "day"
    input_type = "date"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Ids are ordered by time."""
        if not (value := self.value()):
            return queryset
        try:
            start = datetime.combine(datetime.fromisoformat(value), time.min, UTC)
        except ValueError as error:
            raise IncorrectLookupParameters from error
        end = start + timedelta(days=1)
        first, last = first_id_at(start - CLOCK_TOLERANCE), first_id_at(end + CLOCK_TOLERANCE)
        return queryset.filter(
            created_at__gte=start, created_at__lt=end, id__gte=first, id__lt=last
        )


class ClientFilter(TypedFilter):
    """By a client's name or id; several may have the same name."""

    title = "client"
    parameter_name = "client"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of the clients."""
        if not (value := self.value()):
            return queryset
        clients = list(clients_called(value))
        return queryset.filter(client__in=clients) if clients else queryset.none()


def clients_called(value: str) -> QuerySet[Client, UUID]:
    """The ids of the clients with a name or an id."""
    try:
        wanted = {"id": UUID(value)}
    except ValueError:
        return Client.objects.filter(name=value).values_list("id", flat=True)
    return Client.objects.filter(**wanted).values_list("id", flat=True)


def search_jobs(jobs: QuerySet[Job], text: str) -> QuerySet[Job]:
    """The jobs with an id, of a host, or whose URL begins so; a URL has a whole host at least.

    Raises InvalidTarget for a URL that no job can have.
    """
    try:
        return jobs.filter(id=UUID(text))
    except ValueError:
        pass
    if "://" in text:
        url = str(check_url(text))
        return jobs.filter(host=host_of(url), url__startswith=url)
    return jobs.filter(host=host_called(text))


def _codes(error: type[ScrapeError]) -> set[str]:
    return {error.code}.union(*(_codes(one) for one in error.__subclasses__()))
