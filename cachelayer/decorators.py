"""Caching by decoration: functions, coroutines, and views of Django REST framework."""

from __future__ import annotations

import hashlib
import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.db.models import QuerySet
from django.db.models.query import ModelIterable
from django.http import HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers

from cachelayer.codec import UnsupportedValue
from cachelayer.layer import cache_layer
from cachelayer.tiered import TieredCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rest_framework.request import Request

    from cachelayer.layer import Layer
    from cachelayer.policy import Policy

F = TypeVar("F", bound="Callable[..., Any]")


def cached(
    namespace: str,
    policy: Policy,
    *,
    parts: Callable[..., Sequence[object]] | None = None,
    tags: Callable[..., Sequence[str]] = lambda *_args, **_kwargs: (),
    version: int = 1,
    layer: Callable[[], Layer] = cache_layer,
) -> Callable[[F], F]:
    """Keep what a function or coroutine function returns.

    `parts` and `tags` are called with its arguments; without `parts` the arguments themselves tell
    values apart. A queryset is kept as the list of its rows, so it has to be one of `.values()` or
    `.values_list()`: level 2 holds plain data only. A row of `.values_list()` comes as a list.
    """

    def decorate(function: F) -> F:
        values = TieredCache(namespace, policy, layer=layer, version=version)

        def identity(args: Any, kwargs: Any) -> Sequence[object]:
            return parts(*args, **kwargs) if parts else (args, kwargs)

        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def awaiting(*args: Any, **kwargs: Any) -> Any:
                async def load() -> Any:
                    return await _arows(await function(*args, **kwargs))

                return await values.aget_or_load(
                    identity(args, kwargs), load, tags=tags(*args, **kwargs)
                )

            return cast("F", awaiting)

        @wraps(function)
        def calling(*args: Any, **kwargs: Any) -> Any:
            return values.get_or_load(
                identity(args, kwargs),
                lambda: _rows(function(*args, **kwargs)),
                tags=tags(*args, **kwargs),
            )

        return cast("F", calling)

    return decorate


def _rows(value: Any) -> Any:
    return [_row(row) for row in _plain(value)] if isinstance(value, QuerySet) else value


async def _arows(value: Any) -> Any:
    return [_row(row) async for row in _plain(value)] if isinstance(value, QuerySet) else value


def _plain(rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
    """The queryset, unless it would load instances in vain."""
    if issubclass(rows._iterable_class, ModelIterable):
        raise UnsupportedValue(
            f"instances of {rows.model.__name__} cannot be cached: add .values() to the queryset"
        )
    return rows


def _row(row: Any) -> Any:
    return list(row) if isinstance(row, tuple) else row


class _NotKept(Exception):
    """An answer that is not a 200, on its way past the cache."""

    def __init__(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        super().__init__(status)
        self.body = body
        self.status = status
        self.headers = headers


def cached_response(
    values: TieredCache,
    *,
    parts: Callable[..., Sequence[object]],
    tags: Callable[..., Sequence[str]] = lambda *_args, **_kwargs: (),
    final: Callable[[Any], bool] = lambda _data: False,
    vary: Sequence[str] = ("Authorization", "Accept"),
) -> Callable[[F], F]:
    """Keep the rendered 200 answers of a view method, with their ETag, and answer 304.

    `parts` and `tags` are called with the request and the URL's arguments; `parts` must name the
    owner wherever answers differ by owner. What the method raises is not kept, and neither are
    answers other than 200, nor the headers that the method gave to a 200. The values are
    dictionaries of `body`, `type`, `etag` and `final`, which is what `final` says of the answer's
    data: a policy can keep for longer what never changes.
    """

    def decorate(method: F) -> F:
        @wraps(method)
        def answering(view: Any, request: Request, **kwargs: Any) -> HttpResponse:
            renderer = request.accepted_renderer

            def load() -> dict[str, Any]:
                return _rendered(view, renderer, method(view, request, **kwargs), final)

            try:
                kept = values.get_or_load(
                    (*parts(request, **kwargs), renderer.media_type),
                    load,
                    tags=tags(request, **kwargs),
                )
            except _NotKept as other:
                return _passed_on(other)
            return _answer(request, kept, vary)

        return cast("F", answering)

    return decorate


def _rendered(
    view: Any, renderer: Any, response: Any, final: Callable[[Any], bool]
) -> dict[str, Any]:
    response.accepted_renderer = renderer
    # Without the parameters of the media type that was asked for: they are no part of the key.
    response.accepted_media_type = renderer.media_type
    response.renderer_context = view.get_renderer_context()
    body = response.render().content
    if response.status_code != 200:
        raise _NotKept(body, response.status_code, dict(response.headers))
    return {
        "body": body,
        "type": response["Content-Type"],
        "etag": f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"',
        "final": final(response.data),
    }


def _passed_on(other: _NotKept) -> HttpResponse:
    """A response for each of those who waited for the same one."""
    return HttpResponse(other.body, status=other.status, headers=other.headers)


def _answer(request: Any, kept: dict[str, Any], vary: Sequence[str]) -> HttpResponse:
    etag = kept["etag"]
    asked = request.headers.get("If-None-Match", "")
    response: HttpResponse
    if etag in (tag.strip().removeprefix("W/") for tag in asked.split(",")) or asked.strip() == "*":
        response = HttpResponseNotModified()
    else:
        response = HttpResponse(kept["body"], content_type=kept["type"])
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, vary)
    return response
