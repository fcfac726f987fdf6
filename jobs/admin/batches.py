"""Batches in the admin: how far each is."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html

from jobs.admin.base import ReadOnly, list_of
from jobs.admin.columns import client, created, metadata, tail
from jobs.admin.filters import ClientFilter, CreatedFilter, DayFilter
from jobs.models import Batch


@admin.display(description="progress")
def progress(batch: Batch) -> str:
    """Jobs that have ended, of all."""
    return format_html(
        '<progress max="{}" value="{}"></progress> {} of {} ended',
        *(batch.total, batch.ended, f"{batch.ended:,}", f"{batch.total:,}"),
    )


@admin.display(description="jobs")
def jobs(batch: Batch) -> str:
    """Links to its jobs."""
    return list_of("job", "All", batch__id__exact=batch.id)


@admin.display(description="of them failed")
def failed(batch: Batch) -> str:
    """A link to its jobs that have failed."""
    return list_of("job", "Failed", batch__id__exact=batch.id, state="failed")


@admin.register(Batch)
class BatchAdmin(ReadOnly):
    """Jobs submitted together."""

    list_display = (tail, "client", progress, created, jobs)
    list_filter = (ClientFilter, CreatedFilter, DayFilter)
    list_select_related = ("client",)
    ordering = ("-id",)
    shows = ("id", client, progress, created, jobs, failed, metadata)
