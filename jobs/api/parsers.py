"""JSON in, as bytes: the payload models parse and check it in one step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from rest_framework.parsers import BaseParser

from jobs.api.errors import InvalidPayload, MalformedBody, PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rest_framework.request import Request

LARGEST_BODY = 5 * 1024 * 1024
# PostgreSQL cannot store U+0000. An escape counts when an odd number of backslashes precedes "u".
NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

Payload = TypeVar("Payload", bound=BaseModel)


class JSONBodyParser(BaseParser):
    """Reads the body, at most LARGEST_BODY bytes of it."""

    media_type = "application/json"

    def parse(  # type: ignore[override]  # the stubs know parsed data only
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The raw body; raises PayloadTooLarge."""
        body: bytes = stream.read(LARGEST_BODY + 1)
        if len(body) > LARGEST_BODY:
            raise PayloadTooLarge(f"The body is larger than {LARGEST_BODY} bytes.")
        return body


def parse_body(request: Request, model: type[Payload]) -> Payload:
    """The request's body as a payload; raises MalformedBody or InvalidPayload."""
    body: object = request.data
    if not isinstance(body, bytes) or not body:
        raise MalformedBody("The body must be a JSON object.")
    if NUL_ESCAPE.search(body):
        raise MalformedBody("The body contains U+0000, which cannot be stored.")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise problem_of(error) from None


def parse_query(request: Request, model: type[Payload]) -> Payload:
    """The request's query parameters as a payload; raises InvalidPayload."""
    try:
        return model.model_validate(request.query_params.dict())
    except ValidationError as error:
        raise problem_of(error) from None


def problem_of(error: ValidationError) -> MalformedBody | InvalidPayload:
    """Pydantic's findings as a problem that names every field."""
    findings = error.errors(include_url=False, include_context=False, include_input=False)
    if findings[0]["type"] == "json_invalid":
        return MalformedBody(findings[0]["msg"])
    return InvalidPayload(
        [
            {
                "field": ".".join(str(part) for part in finding["loc"]),
                "code": finding["type"],
                "message": finding["msg"].removeprefix("Value error, "),
            }
            for finding in findings
        ]
    )
