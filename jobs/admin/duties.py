"""What the fleet does regularly, in the admin."""

from __future__ import annotations

from django.contrib import admin

from jobs.admin.base import ReadOnly
from jobs.models import Duty


@admin.register(Duty)
class DutyAdmin(ReadOnly):
    """When each duty was last done, by whom, and how that went."""

    list_display = ("name", "last_run_at", "next_at", "rows", "rows_in_all", "is_behind", "error")
    ordering = ("name",)
    shows = (
        *("name", "last_run_at", "next_at", "worker", "rows", "rows_in_all", "is_behind", "error"),
    )
