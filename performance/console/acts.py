"""Who may look, who may act, and a record of every act."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied

from performance.console.pages import PAGES

if TYPE_CHECKING:
    from django.http import HttpRequest

LOOK = "performance.view_console"
ACT = "performance.use_console"


def require(request: HttpRequest, permission: str) -> None:
    """Raise PermissionDenied unless the user has it."""
    if not request.user.has_perm(permission):
        what = "act in" if permission == ACT else "see"
        raise PermissionDenied(f"You may not {what} the performance console.")


def record(request: HttpRequest, kind: str, key: str, text: str) -> None:
    """Keep what was done to what, with who did it and when, where the admin keeps its history."""
    user = request.user
    assert user.is_authenticated
    LogEntry.objects.create(
        user=user,
        object_id=key,
        object_repr=f"{kind} {key}"[:200],
        action_flag=CHANGE,
        change_message=text,
    )


def framed(request: HttpRequest, title: str, slug: str) -> dict[str, Any]:
    """What the templates need for a page that belongs to the page with that slug."""
    return {
        **admin.site.each_context(request),
        "title": f"Performance: {title}",
        "heading": title,
        "belongs_to": PAGES[slug],
        "pages": PAGES.values(),
        "may_act": request.user.has_perm(ACT),
    }
