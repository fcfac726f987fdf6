"""Jobs in the Django admin: to look at. What changes a job goes through the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from jobs.models import ApiKey, Batch, Client, Job

if TYPE_CHECKING:
    from django.http import HttpRequest


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that only the service itself writes."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False


@admin.register(Client)
class ClientAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Tenants of the API."""

    list_display = (
        "name",
        "owner",
        "is_active",
        "created_at",
    )
    list_select_related = ("owner",)
    raw_id_fields = ("owner",)
    search_fields = ("name",)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly):
    """Credentials, without their secrets."""

    list_display = (
        "id",
        "client",
        "created_at",
        "revoked_at",
    )
    list_select_related = ("client",)
    exclude = ("digest",)


@admin.register(Batch)
class BatchAdmin(ReadOnly):
    """Jobs submitted together."""

    list_display = (
        "id",
        "client",
        "total",
        "created_at",
    )
    list_select_related = ("client",)
    ordering = ("-id",)


@admin.register(Job)
class JobAdmin(ReadOnly):
    """Single scrapes."""

    list_display = (
        "id",
        "url",
        "state",
        "attempt",
        "client",
        "created_at",
        "error_code",
    )
    list_filter = ("state",)
    list_select_related = ("client",)
    exclude = ("claim_token",)
    ordering = ("-id",)
