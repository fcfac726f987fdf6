"""What a job found, for staff to download: written by strangers, so no browser may render it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Func, IntegerField, TextField
from django.db.models.functions import Cast
from django.http import Http404, HttpResponse

from jobs.models import Result

if TYPE_CHECKING:
    from datetime import datetime

    from jobs.models import Job

ENDINGS = {"data": "json", "html": "html", "text": "txt", "links": "json", "metadata": "json"}
FORMATS = tuple(ENDINGS)
# Also what may hold markup: a browser that is made to show it shows text.
PLAIN = {"html", "text"}


@dataclass(frozen=True, slots=True)
class Summary:
    """A result without what it holds; `sizes` in bytes of the formats that it has."""

    final_url: str
    status_code: int
    fetched_at: datetime
    sizes: dict[str, int]


def summary_of(job: Job) -> Summary | None:
    """What there is to download, None when there is nothing."""
    sizes = {
        f"size_of_{name}": Func(
            Cast(name, TextField()), function="octet_length", output_field=IntegerField()
        )
        for name in FORMATS
    }
    columns = ("final_url", "status_code", "fetched_at")
    found = Result.objects.filter(job=job).values(*columns, **sizes).first()
    if found is None:
        return None
    present = {name: found[f"size_of_{name}"] for name in FORMATS}
    return Summary(
        **{name: found[name] for name in columns},
        sizes={name: size for name, size in present.items() if size is not None},
    )


def download(job: Job, name: str) -> HttpResponse:
    """One format of a job's result as a file; raises Http404 when there is none."""
    if name not in FORMATS:
        raise Http404
    found = Result.objects.filter(job=job).values_list(name, flat=True).first()
    if found is None:
        raise Http404
    if name in PLAIN:
        body, content_type = found, "text/plain; charset=utf-8"
    else:
        body = json.dumps(found, ensure_ascii=False, indent=2)
        content_type = "application/json"
    return HttpResponse(
        body,
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{job.id}-{name}.{ENDINGS[name]}"',
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )
