"""Clients and their keys in the admin: quotas, new keys, revoked keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.template.response import TemplateResponse
from django.utils import timezone

from jobs.admin.acts import Act, Outcome
from jobs.admin.base import JobsAdmin, ReadOnly, ReadOnlyInline, list_of
from jobs.admin.columns import client
from jobs.keys import generate_key
from jobs.models import ApiKey, Client, Scope
from jobs.services import install_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest

KEY_FIELDS = ("id", "scopes", "created_at", "revoked_at")


def create_key(
    request: HttpRequest, clients: Sequence[Client], scopes: Sequence[str] = (Scope.JOBS,)
) -> Outcome:
    """A key for one client, shown on the page that answers and nowhere else."""
    if len(clients) != 1:
        return Outcome()
    key = generate_key()
    stored = install_key(client=clients[0], key=key, scopes=scopes)
    context = admin.site.each_context(request) | {
        "title": "A new API key",
        "opts": Client._meta,
        "client": clients[0],
        "key": key,
        "opens": [Scope(scope).label for scope in scopes],
    }
    response = TemplateResponse(request, "admin/jobs/client/new_key.html", context)
    response.headers["Cache-Control"] = "no-store"
    told = f"Created the key {stored.id} for {', '.join(scopes)}."
    return Outcome([(clients[0], told)], response=response)


def key_act(name: str, label: str, scopes: tuple[str, ...], *also: str) -> Act:
    """A button that creates a key with these scopes, for whoever may give them."""
    run = partial(create_key, scopes=scopes)
    return Act(name, label, "key created", "jobs.add_apikey", run, also=also)


def revoke(_request: HttpRequest, keys: Sequence[ApiKey]) -> Outcome:
    """Let keys open nothing any more."""
    live = [key for key in keys if key.revoked_at is None]
    ApiKey.objects.filter(id__in=[key.id for key in live]).update(revoked_at=timezone.now())
    outcome = Outcome([(key, "Revoked.") for key in live])
    if len(live) < len(keys):
        outcome.left["had been revoked already"] = len(keys) - len(live)
    return outcome


@admin.display(description="jobs")
def jobs(row: Client) -> str:
    """A link to its jobs."""
    return list_of("job", "Jobs", client=row.id)


@admin.display(description="batches")
def batches(row: Client) -> str:
    """A link to its batches."""
    return list_of("batch", "Batches", client=row.id)


class KeyInline(ReadOnlyInline):
    """A client's keys, without what they are checked against."""

    model = ApiKey
    fields = KEY_FIELDS
    readonly_fields = KEY_FIELDS
    ordering = ("-created_at",)
    show_change_link = True


@admin.register(Client)
class ClientAdmin(JobsAdmin):
    """Tenants of the API. They are never deleted here: their jobs would go with them."""

    # Nobody gives what they do not have.
    acts = (
        key_act("create-key", "Create key", (Scope.JOBS,)),
        key_act(
            "create-monitoring-key",
            "Create monitoring key",
            (Scope.READ,),
            "performance.view_console",
        ),
        key_act(
            "create-operator-key",
            "Create operator key",
            (Scope.READ, Scope.OPTIMIZE),
            *("performance.view_console", "performance.use_console"),
        ),
    )
    list_display = (
        *("name", "owner", "is_active", "max_running", "max_results", "ignores_robots", jobs),
    )
    list_filter = ("is_active", "ignores_robots")
    list_select_related = ("owner",)
    lookups = frozenset({"is_active__exact", "ignores_robots__exact"})
    ordering = ("name", "id")
    search_fields = ("name__exact", "owner__username__exact")
    search_help_text = "A client's name or its owner's."
    raw_id_fields = ("owner",)
    edits = ("name", "owner", "is_active", "max_running", "max_results", "ignores_robots")
    shows = ("id", "quota_reached_at", "created_at", jobs, batches)
    inlines = (KeyInline,)

    def get_actions(self, request: HttpRequest) -> Any:
        """None for several: a key is shown once, on a page of its own."""
        return {}

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never: one that is not active submits nothing."""
        return False

    def save_model(self, request: HttpRequest, obj: Client, form: Any, change: bool) -> None:
        """Only what was changed: the engine writes to the row too."""
        obj.save(update_fields=form.changed_data if change else None)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly):
    """Credentials, without what they are checked against."""

    acts = (
        Act(
            "revoke",
            "Revoke",
            "revoked",
            "jobs.change_apikey",
            revoke,
            lambda key: key.revoked_at is None,
        ),
    )
    list_display = ("id", "client", "scopes", "created_at", "revoked_at")
    list_select_related = ("client",)
    ordering = ("-created_at", "-id")
    search_fields = ("id__exact", "client__name__exact")
    search_help_text = "A key's id, which is its second part, or its client's name."
    shows = ("id", client, "scopes", "created_at", "revoked_at")
