"""The console's data and actions for programs: parse, call, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid4

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.response import Response
from rest_framework.views import APIView

from cachelayer.decorators import cached_response
from cachelayer.remote import Unavailable
from jobs.api.auth import client_of
from jobs.api.errors import Problem
from jobs.api.idempotency import idempotent
from jobs.api.parsers import parse_body, parse_query
from jobs.api.views import IDEMPOTENCY_KEY, PROBLEM, query_of
from jobs.models import Scope
from performance.actions.runs import ask, run_of
from performance.actions.shapes import Refused, soon
from performance.api import answers, examples, payloads
from performance.api.caching import LIVE
from performance.api.documents import (
    cards_document,
    monitor_document,
    preview_document,
    run_document,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drf_spectacular.utils import OpenApiExample
    from rest_framework.request import Request


class ActionRefused(Problem):
    """It cannot be done as things are."""

    status_code = 409
    default_code = "action_refused"


class CacheUnavailable(Problem):
    """Valkey does not answer."""

    status_code = 503
    default_code = "cache_unavailable"
    wait = 2


class RunMissing(Problem):
    """Nobody has asked for this."""

    status_code = 404
    default_code = "not_found"


def asked(request: Request, *_: object) -> tuple[str, str, str]:
    """What tells answers apart: they are the same for whoever may have them."""
    window = parse_query(request, payloads.Window)
    return request.path, window.period, window.process


class MonitorView(APIView):
    """Everything, in brief."""

    scope = Scope.READ

    @extend_schema(
        operation_id="get_performance_monitor",
        parameters=query_of(payloads.Window),
        responses={200: answers.MonitorDocument, "4XX": PROBLEM, 503: PROBLEM},
        examples=[examples.MONITOR],
    )
    @cached_response(LIVE, parts=asked)
    def get(self, request: Request) -> Response:
        """Say how everything is now, the worst first. Asked every few seconds it costs little."""
        return Response(monitor_document(parse_query(request, payloads.Window).scope))


class CardsView(APIView):
    """Some cards of the console, whole."""

    scope = Scope.READ
    cards: ClassVar[tuple[str, ...]]

    @cached_response(LIVE, parts=asked)
    def get(self, request: Request) -> Response:
        """Read cards of the console."""
        return Response(cards_document(self.cards, parse_query(request, payloads.Window)))


class OptimizeView(APIView):
    """Actions of one kind."""

    scope = Scope.OPTIMIZE
    payload: ClassVar[type[payloads.Deed]]

    @idempotent
    def post(self, request: Request) -> Response:
        """What it would do, or with `dry_run` off that it was asked for."""
        deed = parse_body(request, self.payload)
        wanted = deed.wanted()
        try:
            with soon():
                preview = wanted.preview()
        except Refused as refusal:
            raise ActionRefused(str(refusal)) from None
        except Unavailable as error:
            raise CacheUnavailable(f"Valkey does not answer: {error}") from None
        if deed.dry_run:
            return Response(preview_document(wanted, preview))
        client, run_id = client_of(request), uuid4()
        ask(wanted, run_id, user_id=client.owner_id, by=f"{client.name} (API)")
        document = run_document(_run(run_id))
        return Response(document, status=202, headers={"Location": document["links"]["self"]})


DRY_RUN = (
    "\n\nWithout `dry_run: false` it is only said what would happen. "
    "What is asked for runs in the\nbackground: read `links.self` until `state` is not `running`."
)


def cards_view(operation: str, description: str, *names: str) -> type[CardsView]:
    """A view of these cards, documented."""
    answer = {200: answers.PerformanceDocument, "4XX": PROBLEM, 503: PROBLEM}
    schema = extend_schema(
        operation_id=operation,
        description=description,
        parameters=query_of(payloads.Window),
        responses=answer,
        examples=[examples.CARDS],
    )
    view: Any = type("CardsView", (CardsView,), {"cards": names, "__doc__": description})
    found: type[CardsView] = extend_schema_view(get=schema)(view)
    return found


def optimize_view(
    operation: str,
    description: str,
    payload: type[payloads.Deed],
    shown: Sequence[OpenApiExample],
) -> type[OptimizeView]:
    """A view of the actions that the payload names, documented with these examples."""
    answer = {200: answers.PreviewDocument, 202: answers.RunDocument}
    schema = extend_schema(
        operation_id=operation,
        description=description + DRY_RUN,
        request=payload,
        parameters=[IDEMPOTENCY_KEY],
        responses={**answer, "4XX": PROBLEM, 503: PROBLEM},
        examples=shown,
    )
    view: Any = type("OptimizeView", (OptimizeView,), {"payload": payload, "__doc__": description})
    found: type[OptimizeView] = extend_schema_view(post=schema)(view)
    return found


class RunView(APIView):
    """One action that was asked for."""

    scope = Scope.READ

    @extend_schema(
        operation_id="get_performance_action",
        responses={200: answers.RunDocument, "4XX": PROBLEM},
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        """Read how far an action is, or what came of it, whoever asked for it."""
        return Response(run_document(_run(run_id)))


def _run(run_id: UUID) -> Any:
    run = run_of(run_id)
    if run is None:
        raise RunMissing("Nobody has asked for this action.")
    return run
