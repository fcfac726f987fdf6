"""What to extract from a page: the JSON-CSS schema of crawl4ai, checked at submission.

A location in a ValidationError is the path of the JSON document, such as
``("fields", 2, "selector")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic import Field as Key
from pydantic_core import InitErrorDetails, PydanticCustomError

from jobs.extraction.checks import (
    MAX_PATTERN,
    MAX_SELECTOR,
    check_default,
    check_not_empty,
    check_pattern,
    check_selector,
    check_string,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_FIELDS = 100
MAX_DEPTH = 5

FieldType = Literal["text", "attribute", "html", "nested", "list", "nested_list", "regex"]
Transform = Literal["lowercase", "uppercase", "strip"]

_GROUPS = frozenset({"nested", "list", "nested_list"})
# Which key belongs to which types, and whether they need it.
_ALLOWED = {
    "attribute": frozenset({"attribute", "regex"}),
    "pattern": frozenset({"regex"}),
    "fields": _GROUPS,
    "transform": frozenset({"text", "attribute", "html", "regex"}),
}
_NEEDED = {
    "attribute": frozenset({"attribute"}),
    "pattern": frozenset({"regex"}),
    "fields": _GROUPS,
    "transform": frozenset[str](),
}

Clean = AfterValidator(check_string)
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), Clean]
Selector = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_SELECTOR),
    Clean,
    AfterValidator(check_selector),
]
Pattern = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_PATTERN),
    Clean,
    AfterValidator(check_pattern),
]
Default = Annotated[Any, AfterValidator(check_default)]
Path = tuple[int | str, ...]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)


class Field(_Model):
    """One key of a record.

    `selector` is relative to the record's element; without one it is that element. A missing
    value is `default`, else null (lists: else empty). A regex applies to the element's text, or
    to the value of `attribute` when that is given, and yields its first group if it has one.
    """

    name: Name
    type: FieldType
    selector: Selector | None = None
    attribute: Name | None = Key(default=None, validate_default=True)
    pattern: Pattern | None = Key(default=None, validate_default=True)
    fields: Fields | None = Key(default=None, validate_default=True)
    transform: Transform | None = None
    default: Default = None

    @field_validator("attribute", "pattern", "fields", "transform")
    @classmethod
    def _belongs_to_type(cls, value: object, info: ValidationInfo) -> object:
        kind, key = info.data.get("type"), str(info.field_name)
        if kind is None:  # the type itself was refused
            return value
        if value is None and kind in _NEEDED[key]:
            raise PydanticCustomError("missing", f"a field of type {kind} needs {key}")
        if value is not None and kind not in _ALLOWED[key]:
            raise PydanticCustomError("forbidden", f"a field of type {kind} takes no {key}")
        return value

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _check_unique([("fields", index, f) for index, f in enumerate(self.fields or ())])
        return self


Fields = Annotated[tuple[Field, ...], AfterValidator(check_not_empty)]


class ExtractionSpec(_Model):
    """A record for each element that `baseSelector` matches, in document order.

    `baseFields` come first in a record and are otherwise fields like the rest. Finding no record
    is a failure, unless `allowEmpty` says that there may be none.
    """

    name: Name | None = None
    base_selector: Selector = Key(alias="baseSelector")
    base_fields: tuple[Field, ...] = Key(default=(), alias="baseFields")
    fields: Fields
    allow_empty: bool = Key(default=False, alias="allowEmpty")

    @model_validator(mode="before")
    @classmethod
    def _is_bounded(cls, data: object) -> object:
        # Before the fields, so that a flood of them is refused without compiling each one.
        for count, (depth, path) in enumerate(_walk(data), start=1):
            if depth > MAX_DEPTH:
                raise _problem(path, "too_deep", f"fields nest at most {MAX_DEPTH} levels deep")
            if count > MAX_FIELDS:
                raise _problem(
                    path, "too_many", f"a spec has at most {MAX_FIELDS} fields, over all levels"
                )
        return data

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _check_unique(
            [("baseFields", index, field) for index, field in enumerate(self.base_fields)]
            + [("fields", index, field) for index, field in enumerate(self.fields)]
        )
        return self


def _walk(data: object) -> Iterator[tuple[int, Path]]:
    """Yield depth and path of each raw field, whatever shape the document has."""
    pending: list[tuple[object, int, Path]] = [(data, 0, ())]
    while pending:
        node, depth, path = pending.pop()
        if not isinstance(node, dict):
            continue
        for key in ("baseFields", "base_fields", "fields"):
            children = node.get(key)
            for index, child in enumerate(children if isinstance(children, list | tuple) else ()):
                yield depth + 1, (*path, key, index)
                pending.append((child, depth + 1, (*path, key, index)))


def _check_unique(siblings: Iterable[tuple[str, int, Field]]) -> None:
    seen: set[str] = set()
    for key, index, field in siblings:
        if field.name in seen:
            raise _problem((key, index, "name"), "duplicate", "another field has this name")
        seen.add(field.name)


def _problem(path: Path, code: str, message: str) -> ValidationError:
    """An error with a location of its own: pydantic puts the outer path before it."""
    details = InitErrorDetails(type=PydanticCustomError(code, message), loc=path, input=None)
    return ValidationError.from_exception_data("spec", [details])
