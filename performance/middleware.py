"""Watches every request; whoever is below adds what it waited for to the current watch."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from django.core.exceptions import MiddlewareNotUsed

from performance.conf import performance_settings
from performance.recorders import nplusone, requests
from performance.recording.cpu import charged
from performance.recording.process import governor
from performance.recording.rescue import rescued, unobserved
from performance.recording.watch import Watch, current

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse
    from django.template.response import SimpleTemplateResponse

# The console does not watch itself.
OURS = ("/admin/performance/", "/api/v1/performance/")


class RequestsMiddleware:
    """The outermost but for the probes, so that it sees what users wait for."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Everything below it. Raises MiddlewareNotUsed where nothing is to be watched."""
        if not performance_settings().enabled:
            raise MiddlewareNotUsed
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer of what is below; nothing that goes wrong here changes it."""
        if request.path.startswith(OURS):
            with unobserved():
                return self._get_response(request)
        watch = Watch(governor.weight(), request)
        token = current.set(watch)
        try:
            with charged(watch):
                response = self._get_response(request)
        finally:
            current.reset(token)
        ended, elapsed = perf_counter(), watch.elapsed
        with rescued(requests.NAME):
            view = requests.record(request, response, elapsed)
            if watch.weight:
                requests.record_parts(request, response, view, elapsed, watch)
                nplusone.record(view, watch)
        governor.spent += perf_counter() - ended
        return response

    def process_template_response(
        self, _request: HttpRequest, response: SimpleTemplateResponse
    ) -> SimpleTemplateResponse:
        """Time the turning of an answer into bytes, which Django does after this."""
        watch = current.get()
        if watch is not None and watch.weight:
            began = perf_counter()

            def rendered(_response: object) -> None:
                watch.render += (perf_counter() - began) * 1000

            response.add_post_render_callback(rendered)
        return response
