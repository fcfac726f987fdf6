"""Caching by decoration: functions, coroutines, and views of Django REST framework."""

from __future__ import annotations

import hashlib
import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers

from cachelayer.layer import cache_layer
from cachelayer.tiered import Policy, TieredCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rest_framework.request import Request

    from cachelayer.layer import Layer

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
    `.values_list()`: level 2 holds plain data only.
    """

    def decorate(function: F) -> F:
        values = TieredCache(namespace, policy, layer=layer, version=version)

        def identity(args: Any, kwargs: Any) -> Sequence[object]:
            return parts(*args, **kwargs) if parts else (args, kwargs)

        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def awaiting(*args: Any, **kwargs: Any) -> Any:
                return await values.aget_or_load(
                    identity(args, kwargs),
                    lambda: function(*args, **kwargs),
                    tags=tags(*args, **kwargs),
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
    return list(value) if isinstance(value, QuerySet) else value


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
    owner wherever answers differ by owner. What the method raises is not kept. The values are
    dictionaries of `body`, `type`, `etag` and `final`, which is what `final` says of the answer's
    data: a policy can keep for longer what never changes.
    """

    def decorate(method: F) -> F:
        @wraps(method)
        def answering(view: Any, request: Request, **kwargs: Any) -> HttpResponse:
            media_type = request.accepted_renderer.media_type  # type: ignore[attr-defined]

            def load() -> dict[str, Any]:
                return _rendered(request, method(view, request, **kwargs), final)

            kept = values.get_or_load(
                (*parts(request, **kwargs), media_type), load, tags=tags(request, **kwargs)
            )
            return _answer(request, kept, vary)

        return cast("F", answering)

    return decorate


def _rendered(request: Any, response: Any, final: Callable[[Any], bool]) -> dict[str, Any]:
    body = request.accepted_renderer.render(response.data, request.accepted_media_type, {})
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    return {
        "body": body,
        "type": request.accepted_renderer.media_type,
        "etag": etag,
        "final": final(response.data),
    }


def _answer(request: Any, kept: dict[str, Any], vary: Sequence[str]) -> HttpResponse:
    etag = kept["etag"]
    asked = request.headers.get("If-None-Match", "")
    if etag in (tag.strip().removeprefix("W/") for tag in asked.split(",")) or asked.strip() == "*":
        response = HttpResponse(status=304)
    else:
        response = HttpResponse(kept["body"], content_type=kept["type"])
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, vary)
    return response
