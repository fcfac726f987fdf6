"""The service with views that keep the processor busy, keep memory, and ask the database a lot."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.urls import include, path

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

KEPT: list[bytearray] = []
# Megabytes.
MOST_KEPT = 64


def compute() -> None:
    """Keep the processor busy for some milliseconds."""
    until = time.perf_counter() + 0.005
    while time.perf_counter() < until:
        pass


def keep() -> None:
    """Keep what nobody asks for any more, up to a bound."""
    KEPT.append(bytearray(1024 * 1024))
    del KEPT[:-MOST_KEPT]


def forever(work: Callable[[], None]) -> None:
    """Do it again and again, and let others run in between."""
    while True:
        work()
        time.sleep(0.005)


def busy(request: HttpRequest) -> HttpResponse:
    """Compute from now on."""
    threading.Thread(target=forever, args=[compute], daemon=True).start()
    return HttpResponse("done")


def keeping(request: HttpRequest) -> HttpResponse:
    """Keep more and more from now on."""
    threading.Thread(target=forever, args=[keep], daemon=True).start()
    return HttpResponse("done")


def asking(request: HttpRequest) -> HttpResponse:
    """Ask by the ORM, in plain SQL, and write."""
    list(User.objects.filter(username="nobody"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::int + 1", [41])
    User.objects.filter(username="nobody").update(first_name="Nobody")
    return HttpResponse(str(os.getpid()))


VIEWS = (busy, keeping, asking)
urlpatterns = [
    *(path(view.__name__, view) for view in VIEWS),
    path("", include("scraper_site.urls")),
]
