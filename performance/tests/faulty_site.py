"""The service with views of its own that do what no view should."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest
KEPT: list[list[bytes]] = []
WAITING: list[HttpRequest] = []
RELEASED = threading.Event()


def compute(seconds: float) -> None:
    """Keep the processor busy."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def blocking(request: HttpRequest) -> HttpResponse:
    """Hold up the hub: nothing else runs meanwhile."""
    compute(float(request.GET["seconds"]))
    return HttpResponse("done")


def patient(request: HttpRequest) -> HttpResponse:
    """Wait as one should: others run meanwhile."""
    WAITING.append(request)
    RELEASED.wait()
    return HttpResponse("done")


def release(request: HttpRequest) -> HttpResponse:
    """Let those who wait go on."""
    RELEASED.set()
    return HttpResponse("done")


def waiting(request: HttpRequest) -> HttpResponse:
    """How many have come to wait."""
    return HttpResponse(str(len(WAITING)))


def leaking(request: HttpRequest) -> HttpResponse:
    """Keep what nobody asks for any more."""
    KEPT.append([bytes(1000) for _ in range(int(request.GET["objects"]))])
    return HttpResponse("done")


def breaking(request: HttpRequest) -> StreamingHttpResponse:
    """Begin an answer, and fail on the way."""

    def parts() -> Iterator[bytes]:
        yield b"line"
        raise ZeroDivisionError

    return StreamingHttpResponse(parts())


urlpatterns = [
    path("breaking", breaking),
    path("blocking", blocking),
    path("patient", patient),
    path("release", release),
    path("waiting", waiting),
    path("leaking", leaking),
    path("", include("scraper_site.urls")),
]
