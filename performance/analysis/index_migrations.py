"""A suggested index as a Django migration, which makes it without stopping anybody's writes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.db.migrations.loader import MigrationLoader

from performance.analysis.postgresql.rows import row
from performance.analysis.suggestions import quoted

if TYPE_CHECKING:
    from django.db.models import Model

    from performance.analysis.suggestions import Suggestion

OF_MODEL = '''"""{why}"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    # An index cannot be made concurrently in a transaction.
    atomic = False
    dependencies = [({app!r}, {latest!r})]
    operations = [
        AddIndexConcurrently(
            model_name={model!r},
            index=models.Index(fields={fields!r}, name={name!r}),
        )
    ]
'''

OF_TABLE = '''"""{why}"""

from django.db import migrations


class Migration(migrations.Migration):

    # An index cannot be made concurrently in a transaction. Name the latest migration of the app.
    atomic = False
    dependencies = []
    operations = [
        migrations.RunSQL(
            {create!r},
            {drop!r},
        )
    ]
'''


def migration(suggestion: Suggestion) -> str:
    """The text of the migration; raw SQL when the table is of no model of this project."""
    columns = ", ".join(suggestion.columns)
    why = f"An index for what looks {suggestion.table} up by {columns}."
    model = model_of(suggestion)
    fields = fields_of(model, suggestion) if model else []
    if model is None or not fields:
        return OF_TABLE.format(
            why=why,
            create=suggestion.statement.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1),
            drop=f"DROP INDEX CONCURRENTLY {quoted(suggestion.schema)}.{quoted(suggestion.name)}",
        )
    return OF_MODEL.format(
        why=why,
        app=model._meta.app_label,
        latest=latest_migration(model._meta.app_label),
        model=model._meta.model_name,
        fields=fields,
        name=suggestion.name,
    )


def model_of(suggestion: Suggestion) -> type[Model] | None:
    """The model whose table it is, if its app is part of this project and not installed.

    Migrations know no model of a table between two models, and of no schema but the usual one.
    """
    if suggestion.schema != row(str, "SELECT coalesce(current_schema(), '')"):
        return None
    for model in apps.get_models():
        if model._meta.db_table == suggestion.table and model._meta.managed:
            app = Path(apps.get_app_config(model._meta.app_label).path)
            inside = app.is_relative_to(settings.BASE_DIR) and "site-packages" not in app.parts
            return model if inside else None
    return None


def fields_of(model: type[Model], suggestion: Suggestion) -> list[str]:
    """The fields of the columns; none when a column is no field's."""
    by_column = {field.column: field.name for field in model._meta.concrete_fields}
    found = [by_column.get(column, "") for column in suggestion.columns]
    return found if all(found) else []


def latest_migration(app: str) -> str:
    """The name of an app's latest migration, which the new one comes after."""
    ((_, name),) = _graph().leaf_nodes(app)
    found: str = name
    return found


@cache
def _graph() -> Any:
    """All migrations of this code, which are imported for it."""
    return MigrationLoader(None).graph
