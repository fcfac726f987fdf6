"""What all lists and pages of jobs in the admin have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from jobs.admin.acts import MOST_AT_ONCE, Act, perform
from jobs.admin.lists import EndlessList

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    # Generic for type checkers only.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin = admin.ModelAdmin
    TabularInline = admin.TabularInline


class JobsAdmin(ModelAdmin):
    """Endless lists, and acts on what is selected or shown."""

    acts: ClassVar[tuple[Act, ...]] = ()
    # The only parameters of a list's address beside its filters': others could ask for anything.
    lookups: ClassVar[frozenset[str]] = frozenset()
    # The fields of a row's page: what can be edited, and what is only shown.
    edits: ClassVar[tuple[str, ...]] = ()
    shows: ClassVar[tuple[str | Callable[..., str], ...]] = ()
    ordering: ClassVar[Any] = ("-id",)
    show_facets = ShowFacets.NEVER
    sortable_by = ()

    class Media:
        css = {"all": ("jobs/admin.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[EndlessList]:
        """The kind of list."""
        return EndlessList

    def read_page(self, changelist: EndlessList, rows: QuerySet[Any], most: int) -> list[Any]:
        """The first `most` of these rows, which are in order."""
        return list(rows[:most])

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Whether a list's address may contain this."""
        return lookup in self.lookups or lookup in {
            getattr(one, "parameter_name", None) for one in self.list_filter
        }

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new row has nothing to show yet."""
        return (*self.edits, *self.shows) if obj else self.edits

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Those that are only shown."""
        return self.shows if obj else ()

    def get_actions(self, request: HttpRequest) -> Any:
        """What the user may do with selected rows."""
        return super().get_actions(request) | {
            act.name: (_action_of(act), act.name, act.label) for act in self._allowed(request)
        }

    def get_urls(self) -> list[URLPattern]:
        """Django's, and one to act on a single row."""
        view = self.admin_site.admin_view(require_POST(self.act_view))
        name = f"{self.opts.app_label}_{self.opts.model_name}_act"
        return [path("<path:object_id>/act/<slug:act>/", view, name=name), *super().get_urls()]

    def act_view(self, request: HttpRequest, object_id: str, act: str) -> HttpResponse:
        """Act on one row, and show it again."""
        row = self.get_object(request, unquote(object_id))
        if row is None or act not in {one.name for one in self.acts}:
            raise Http404
        allowed = {one.name: one for one in self._allowed(request)}
        if act not in allowed:
            raise PermissionDenied
        rows = self.get_queryset(request).filter(pk=row.pk)
        response = perform(allowed[act], request, rows)
        return response or HttpResponseRedirect(self.address(row, "change"))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Django's, with buttons for what can be done with the row."""
        row = self.get_object(request, unquote(object_id))
        context = extra_context or {}
        if row is not None and self.has_view_permission(request, row):
            context |= {"acts": self._buttons(request, row), **self.shown(row)}
        return super().change_view(request, object_id, form_url, context)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's, and how many rows one action takes."""
        context = {"most_at_once": MOST_AT_ONCE} | (extra_context or {})
        return super().changelist_view(request, context)

    def shown(self, row: Any) -> dict[str, Any]:
        """What the template of a row's page needs beside its fields."""
        return {}

    def address(self, row: Model, page: str, *arguments: str) -> str:
        """Where one of the row's pages is."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=(row.pk, *arguments))

    def _allowed(self, request: HttpRequest) -> list[Act]:
        return [act for act in self.acts if act.is_allowed(request)]

    def _buttons(self, request: HttpRequest, row: Model) -> list[dict[str, str]]:
        return [
            {"label": act.label, "url": self.address(row, "act", act.name)}
            for act in self._allowed(request)
            if act.applies(row)
        ]


class ReadOnly(JobsAdmin):
    """Rows that only the service itself writes."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False


class ReadOnlyInline(TabularInline):
    """Rows of a row that only the service itself writes."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False


def _action_of(act: Act) -> Callable[[JobsAdmin, HttpRequest, Any], HttpResponse | None]:
    """The act as an action of Django's lists."""
    return lambda _admin, request, rows: perform(act, request, rows)


def moment(value: datetime | None) -> str:
    """To the second, in UTC."""
    return f"{value:%Y-%m-%d %H:%M:%S}" if value else "–"


def link(url: str, text: object) -> str:
    """A link within the admin. What strangers wrote is never a `url`."""
    return format_html('<a href="{}">{}</a>', url, text)


def link_to(row: Model | None, text: object = None) -> str:
    """A link to the page of a row."""
    if row is None:
        return "–"
    url = reverse(f"admin:jobs_{row._meta.model_name}_change", args=(row.pk,))
    return link(url, text or row)


def list_of(model: str, text: str, **lookups: object) -> str:
    """A link to a list, narrowed down."""
    query = {name: str(value) for name, value in lookups.items()}
    return link(reverse(f"admin:jobs_{model}_changelist", query=query), text)
