"""Watches every request; whoever is below adds what it waited for to the current watch."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from performance.recorders import requests
from performance.recording.process import governor
from performance.recording.rescue import rescued, unobserved
from performance.recording.watch import Watch, current

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

# The console does not watch itself.
OURS = "/admin/performance/"


class RequestsMiddleware:
    """The outermost but for the probes, so that it sees what users wait for."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Everything below it."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer of what is below; nothing that goes wrong here changes it."""
        if request.path.startswith(OURS):
            with unobserved():
                return self._get_response(request)
        weight = governor.weight()
        if not weight:
            began = perf_counter()
            response = self._get_response(request)
            with rescued(requests.NAME):
                requests.record(request, response, (perf_counter() - began) * 1000)
            return response
        return self._watched(request, Watch(weight))

    def _watched(self, request: HttpRequest, watch: Watch) -> HttpResponse:
        token = current.set(watch)
        try:
            response = self._get_response(request)
        finally:
            current.reset(token)
        elapsed = watch.elapsed
        with rescued(requests.NAME), governor.measured():
            view = requests.record(request, response, elapsed)
            requests.record_parts(request, response, view, elapsed, watch)
        return response
