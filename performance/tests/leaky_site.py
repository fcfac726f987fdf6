"""The service with views that keep connections: settings and addresses in one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import path
from django_redis import get_redis_connection

from scraper_site.settings import *  # noqa: F403
from scraper_site.settings import PERFORMANCE as USUAL

if TYPE_CHECKING:
    from django.http import HttpRequest

ROOT_URLCONF = __name__
PERFORMANCE = {**USUAL, "leak_after": 0.5}

released = threading.Event()
kept: list[Any] = []


def ask() -> None:
    """Use Django's connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def keep() -> None:
    """Take a connection, and hold it without a request."""
    ask()
    released.wait()


def fine(request: HttpRequest) -> HttpResponse:
    """Take a connection and leave it to Django to give it back."""
    ask()
    return HttpResponse("fine")


def leaking(request: HttpRequest) -> HttpResponse:
    """Start a greenlet that gives nothing back."""
    threading.Thread(target=keep).start()
    return HttpResponse("leaking")


def dying(request: HttpRequest) -> HttpResponse:
    """Start a greenlet that ends without giving anything back."""
    greenlet = threading.Thread(target=ask)
    greenlet.start()
    greenlet.join()
    return HttpResponse("dead")


def losing(request: HttpRequest) -> HttpResponse:
    """Take a connection past Django, and lose it."""
    ask()
    connection.pool.getconn()  # type: ignore[attr-defined]
    return HttpResponse("lost")


def opening(request: HttpRequest) -> HttpResponse:
    """Begin a transaction that never ends."""
    transaction.atomic().__enter__()
    ask()
    return HttpResponse("open")


def caching(request: HttpRequest) -> HttpResponse:
    """Take a connection to the cache server, and keep it."""
    kept.append(get_redis_connection("default").connection_pool.get_connection())
    return HttpResponse("kept")


def slow(request: HttpRequest) -> HttpResponse:
    """Hold a connection while waiting for something else."""
    ask()
    released.wait()
    return HttpResponse("slow")


def release(request: HttpRequest) -> HttpResponse:
    """End what waits."""
    released.set()
    return HttpResponse("released")


VIEWS = (fine, leaking, dying, losing, opening, caching, slow, release)
urlpatterns = [path(view.__name__, view) for view in VIEWS]
