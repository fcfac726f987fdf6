"""Watches every request; whoever is below adds what it waited for to the current watch."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeGuard
from weakref import ref

from django.core.exceptions import MiddlewareNotUsed
from django.http import FileResponse, StreamingHttpResponse

from performance.conf import performance_settings
from performance.profiling.requests import respond, wanted
from performance.recorders import leaks, requests
from performance.recording.cpu import charging
from performance.recording.process import governor
from performance.recording.rescue import rescued, unobserved
from performance.recording.watch import Watch, current, lives, working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Token

    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase
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
        if working.get() is not None:
            # One that nobody has ended is over.
            leaks.ended()
        weight = governor.weight()
        watch = Watch(weight, request.method, request.path_info, ref(lives.life))
        working.set(watch)
        # As `begin` and `end` do, without two calls in every request.
        if weight:
            charging().begin(watch)
        token = current.set(watch)
        try:
            if wanted:
                response = respond(request, self._get_response)
            else:
                response = self._get_response(request)
        finally:
            current.reset(token)
            if weight:
                charging().end(watch)
        if response.streaming and is_made_while_it_is_sent(response):
            with rescued(requests.NAME):
                parts: Any = response.streaming_content
                response.streaming_content = Streamed(
                    parts, watch, lambda: requests.ended(request, response, watch)
                )
        else:
            requests.ended(request, response, watch)
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


class Streamed:
    """The parts of an answer, each made while its request is watched, which ends with them."""

    def __init__(self, parts: Iterable[bytes], watch: Watch, ended: Callable[[], None]) -> None:
        """`ended` is called once: after the last part, a failure, or when nobody wants more."""
        self._parts = iter(parts)
        self._watch = watch
        self._ended: Callable[[], None] | None = ended
        self._sent_at = perf_counter()

    def __iter__(self) -> Streamed:
        return self

    def __next__(self) -> bytes:
        self._was_sent()
        try:
            return self._next()
        except BaseException:
            self._end()
            raise
        finally:
            self._sent_at = perf_counter()

    def close(self) -> None:
        """Django calls it when the answer was sent, or nobody reads it any more."""
        self._was_sent()
        self._end()

    def _next(self) -> bytes:
        token = begin(self._watch)
        try:
            return next(self._parts)
        finally:
            end(self._watch, token)

    def _was_sent(self) -> None:
        # How fast somebody reads is no slowness of ours.
        self._watch.asked += (perf_counter() - self._sent_at) * 1000

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()


def begin(watch: Watch) -> Token[Watch | None]:
    """What is done from now on, here, is what it watches."""
    if watch.weight:
        charging().begin(watch)
    return current.set(watch)


def end(watch: Watch, token: Token[Watch | None]) -> None:
    """And now no more."""
    current.reset(token)
    if watch.weight:
        charging().end(watch)


def is_made_while_it_is_sent(response: HttpResponseBase) -> TypeGuard[StreamingHttpResponse]:
    """Whether there is more to watch: files are there already, and sent by the server itself."""
    return (
        isinstance(response, StreamingHttpResponse)
        and not isinstance(response, FileResponse)
        and not response.is_async
    )
