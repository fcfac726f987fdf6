"""Jobs in the admin: found among millions, explained, cancelled and submitted again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.urls import path

from jobs.admin import columns, filters
from jobs.admin.base import ReadOnly
from jobs.admin.job_acts import ACTS
from jobs.admin.lists import first_of_each
from jobs.admin.results import download, summary_of
from jobs.admin.story import story_of, waits_in_words
from jobs.errors import InvalidTarget
from jobs.models import Client, Delivery, Job

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from jobs.admin.lists import EndlessList

# Parameters of the list that an index answers for each client only, and those that name few rows.
OF_EACH_CLIENT = {"state", "error", "client", "q"}
FEW = {"batch__id__exact", "schedule__id__exact", "dead", "hold"}

IDENTITY = ("id", columns.url, columns.state, columns.error)
RELATIONS = (
    *(columns.client, columns.batch, columns.schedule),
    *(columns.repeats, columns.repeated_by),
)
ORDER = (
    *("priority", "formats", columns.extract, columns.metadata, "max_attempts", "timeout"),
    *("run_at", "off_peak"),
)


@admin.register(Job)
class JobAdmin(ReadOnly):
    """Single scrapes."""

    acts = ACTS
    list_display = (
        *(columns.created, columns.state, columns.url, "client", columns.attempt),
        *(columns.waited, columns.ran, "error_code"),
    )
    list_filter = (
        filters.StateFilter,
        filters.HoldFilter,
        filters.DeadLetterFilter,
        filters.CreatedFilter,
        filters.DayFilter,
        filters.ClientFilter,
        filters.ErrorFilter,
    )
    list_select_related = ("client",)
    lookups = frozenset({"batch__id__exact", "schedule__id__exact"})
    ordering = ("-id",)
    # What the box is for; `get_search_results` says how.
    search_fields = ("id", "host", "url")
    search_help_text = "A job's id, a host, or the beginning of a URL with its whole host."
    shows = (*IDENTITY, *RELATIONS, *ORDER)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": (*IDENTITY, RELATIONS[:3], RELATIONS[3:])}),
        ("What was asked for", {"classes": ("collapse",), "fields": ORDER}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Jobs with their clients, whom every act needs."""
        return super().get_queryset(request).select_related("client")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By id, host or the beginning of the URL; nothing else has an index."""
        text = search_term.strip()
        try:
            return (filters.search_jobs(queryset, text) if text else queryset), False
        except InvalidTarget as error:
            self.message_user(request, error.message, "WARNING")
            return queryset.none(), False

    def read_page(self, changelist: EndlessList, rows: QuerySet[Any], most: int) -> list[Any]:
        """The newest `most` of these rows; what has an index a client is looked for client-wise."""
        wanted = {name for name, value in changelist.params.items() if value}
        if not wanted & OF_EACH_CLIENT or wanted & FEW:
            return super().read_page(changelist, rows, most)
        clients = Client.objects.all()
        if name := changelist.params.get(filters.ClientFilter.parameter_name):
            clients = clients.filter(id__in=filters.clients_called(name))
        ids = first_of_each(clients, rows, by="client", ordering=self.ordering, most=most)
        return list(Job.objects.select_related("client").filter(id__in=ids).order_by("-id"))

    def get_urls(self) -> list[URLPattern]:
        """Django's, and one to download a result."""
        view = self.admin_site.admin_view(self.result_view)
        route = path("<path:object_id>/result/<slug:name>/", view, name="jobs_job_result")
        return [route, *super().get_urls()]

    def result_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """One format of the job's result as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = self.get_object(request, unquote(object_id))
        if job is None:
            raise Http404
        return download(job, name)

    def shown(self, row: Job) -> dict[str, Any]:
        """The story, what the job waits for, its result and who was told of it."""
        result = summary_of(row)
        told = Delivery.objects.filter(endpoint__client=row.client_id, subject=row.id)
        return {
            "story": story_of(row),
            "waits_for": waits_in_words(row),
            "result": result,
            "files": [
                {"name": name, "size": size, "url": self.address(row, "result", name)}
                for name, size in (result.sizes if result else {}).items()
            ],
            "deliveries": told.select_related("endpoint").order_by("created_at"),
        }
