"""When queries that differ in their values only are too many, and how to ask once instead.

Decided by counts at the end of a request, not by which query follows which: a second query in the
loop hides nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING, Any, NamedTuple

from django.apps import apps

from performance.models import Kind

if TYPE_CHECKING:
    from django.db.models import Field, Model

    from performance.analysis.fingerprint import Statement

# A handful of queries is no fault.
FEWEST = 5
# With fewer different values than this share, the same thing was asked again.
DISTINCT = 0.8
# Milliseconds in all, unless there are many.
COSTLY = 50.0
MANY = 20

CONDITION = re.compile(r'(?<!\w)(?:"?(\w++)"?\.)?+"?(\w++)"?\s++(?:=|IN)\s++\(?%s', re.IGNORECASE)
# Behind the name of a table the one that it goes by.
ALIAS = re.compile(r'\b(?:FROM|JOIN)\s++"?(\w++)"?(?=\s++(?:AS\s++)?"?(\w++)"?)', re.IGNORECASE)
CONTENT_TYPE = "contenttypes.ContentType"


class Condition(NamedTuple):
    """A column that is compared with a value; what no model knows has neither model nor field."""

    table: str
    column: str
    model: type[Model] | None
    field: Field[Any, Any] | None

    @property
    def likelihood(self) -> int:
        """A primary key first, then what refers to a row; of a content type there are few."""
        if self.field is None:
            return 0
        if self.field.primary_key:
            return 2
        owner = self.field.related_model
        return int(isinstance(owner, type) and owner._meta.label != CONTENT_TYPE)


def verdict(count: int, distinct: float, milliseconds: float) -> Kind | None:
    """What so many runs of one query in one request are; `distinct` is a share of their values."""
    if count < FEWEST or (milliseconds < COSTLY and count < MANY):
        return None
    return Kind.N_PLUS_ONE if distinct >= DISTINCT else Kind.DUPLICATE_QUERIES


def key_of(view: str, place: str, source: str, fingerprint: str) -> str:
    """The same fault has the same key, wherever its lines move to."""
    text = "\n".join((view, place, source, fingerprint))
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


def hint(kind: Kind, statement: Statement, source: Statement | None) -> str:
    """How to mend it, in a sentence. `source` is the query that came before the first of them."""
    if kind == Kind.DUPLICATE_QUERIES:
        return "The same values are asked for again: keep the first answer for the request."
    return advice(statement.sql, statement.tables, source.tables if source else ())


@lru_cache(maxsize=500)
def advice(sql: str, tables: tuple[str, ...], source_tables: tuple[str, ...]) -> str:
    """What to add to the query of the `source_tables` so that it brings along what this one asks.

    A condition on a primary key follows a foreign key forwards, another one follows it backwards.
    """
    found = condition(sql, tables)
    if not found:
        return "Ask for all of them in one query before the loop."
    table, column, model, field = found
    if model is None:
        return f"Ask for all rows of {table} in one query before the loop: {column} IN (…)."
    if field is None or not (field.primary_key or field.is_relation):
        return f"Ask for all of them in one query before the loop: {column}__in=…"
    if field.primary_key:
        return forwards(model, source_tables)
    return backwards(model, field)


def condition(sql: str, tables: tuple[str, ...]) -> Condition | None:
    """The one that is most likely what differs from one run to the next; None without any."""
    aliases = {alias: table for table, alias in ALIAS.findall(sql)}
    models = models_by_table()
    found = []
    for where in re.split(r"\bWHERE\b", sql, maxsplit=1, flags=re.IGNORECASE)[1:]:
        for name, column in CONDITION.findall(where):
            table = aliases.get(name, name) or (tables[0] if tables else "")
            model = models.get(table)
            fields = model._meta.concrete_fields if model else ()
            field = next((field for field in fields if field.column == column), None)
            found.append(Condition(table, column, model, field))
    best = max(found, key=lambda one: one.likelihood, default=None)
    return best if best is None or best.likelihood else found[-1]


def forwards(model: type[Model], source_tables: tuple[str, ...]) -> str:
    """Which select_related brings a row of that model along."""
    relations = [
        relation
        for relation in model._meta.related_objects
        if not relation.many_to_many and relation.related_model != model
    ]
    near = [one for one in relations if one.related_model._meta.db_table in source_tables]
    names = sorted({f'select_related("{relation.field.name}")' for relation in near or relations})
    if not names:
        return f"Ask for all of {model.__name__} in one query before the loop: in_bulk(…)."
    whose = near[0].related_model.__name__ if near else f"what refers to {model.__name__}"
    return f"Add {' or '.join(names[:3])} to the query of {whose}."


def backwards(model: type[Model], field: Field[object, object]) -> str:
    """Which prefetch_related brings the rows along that refer to one."""
    remote = field.remote_field
    accessor = remote.get_accessor_name() if remote else None
    owner = field.related_model.__name__ if isinstance(field.related_model, type) else "its owner"
    if model._meta.auto_created:
        return through(model, field)
    if not accessor:
        return f"Ask for all of {model.__name__} in one query: {field.name}__in=…"
    return f'Add prefetch_related("{accessor}") to the query of {owner}.'


def through(model: type[Model], field: Field[object, object]) -> str:
    """The same for the table between two models of which each has many of the other."""
    owner = field.related_model
    assert isinstance(owner, type)
    own = [one.name for one in owner._meta.many_to_many if one.remote_field.through is model]
    others = [
        one.get_accessor_name()
        for one in owner._meta.related_objects
        if getattr(one, "through", None) is model
    ]
    return f'Add prefetch_related("{(own + others)[0]}") to the query of {owner.__name__}.'


def models_by_table() -> dict[str, type[Model]]:
    """All models, those between two others too."""
    return {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}
