"""Actions: arguments, a preview of what would happen, the deed, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.contrib import messages
from django.db import DatabaseError
from django.http import Http404, HttpResponseBadRequest
from django.shortcuts import redirect, render
from pydantic import ValidationError

from cachelayer.remote import Unavailable
from performance.actions.registry import ACTIONS
from performance.actions.runs import ask, run_of
from performance.actions.shapes import Refused, soon
from performance.console.acts import ACT, LOOK, framed, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest, HttpResponse

    from performance.actions.shapes import Action


@dataclass(frozen=True, slots=True)
class Argument:
    """A field of the form; with `choices` one of them."""

    name: str
    value: str
    is_required: bool
    choices: Sequence[str] = ()
    error: str = ""


def action(request: HttpRequest, name: str) -> HttpResponse:
    """The arguments, and once they are there what would happen; a POST does it, as run `run`."""
    require(request, ACT)
    if name not in ACTIONS:
        raise Http404(f"There is no action {name!r}.")
    kind = ACTIONS[name]
    if request.method == "POST":
        return _do(request, kind)
    context = {**framed(request, kind.title, "actions"), "action": kind}
    try:
        with soon():
            context |= _previewed(kind, request.GET.dict())
    except Refused as refusal:
        context |= {"error": str(refusal)}
    except Unavailable as error:
        context |= {"error": f"Valkey does not answer: {error}. Try again when it is back."}
    except DatabaseError as error:
        said = str(error).splitlines()[0]
        context |= {"error": f"PostgreSQL did not say what it would do: {said}. See Database."}
    return render(request, "admin/performance/action.html", context)


def run(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """How far a run is, and what came of it."""
    require(request, LOOK)
    found = run_of(run_id)
    if found is None:
        raise Http404("Nobody has asked for that.")
    kind = ACTIONS.get(found.action)
    context = {**framed(request, kind.title if kind else found.action, "actions"), "run": found}
    return render(request, "admin/performance/action_run.html", context)


def _do(request: HttpRequest, kind: type[Action]) -> HttpResponse:
    given = {name: request.POST[name] for name in kind.model_fields if name in request.POST}
    try:
        wanted, run_id = kind.model_validate(given), UUID(request.POST.get("run", ""))
    except ValueError:
        return HttpResponseBadRequest("Arguments are missing or wrong. Begin with the preview.")
    user = request.user
    assert user.is_authenticated
    if not ask(wanted, run_id, user_id=user.pk, by=user.get_username()):
        messages.info(request, "This was asked for already: it is done once.")
    return redirect("console:run", run_id)


def _previewed(kind: type[Action], given: dict[str, str]) -> dict[str, Any]:
    """The form, and with all arguments what would happen. Raises what a preview raises."""
    known = {name: value for name, value in given.items() if name in kind.model_fields}
    needs = [name for name, field in kind.model_fields.items() if field.is_required()]
    is_asked = bool(given) or not kind.model_fields
    errors: dict[str, str] = {}
    context: dict[str, Any] = {}
    if is_asked and all(known.get(name) for name in needs):
        try:
            wanted = kind.model_validate(known)
        except ValidationError as error:
            errors = {str(one["loc"][0]): one["msg"] for one in error.errors()}
        else:
            context = {
                "wanted": wanted.model_dump(),
                "run_id": uuid4(),
                "preview": wanted.preview(),
            }
    return {"arguments": _arguments(kind, known, errors), **context}


def _arguments(kind: type[Action], given: dict[str, str], errors: dict[str, str]) -> list[Argument]:
    choices = kind.choices() if kind.model_fields else {}
    return [
        Argument(
            name,
            given.get(name, "" if field.is_required() else str(field.default)),
            field.is_required(),
            choices.get(name, ()),
            errors.get(name, ""),
        )
        for name, field in kind.model_fields.items()
    ]
