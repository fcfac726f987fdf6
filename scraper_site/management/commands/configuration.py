"""`manage.py configuration`: the table of docs/configuration.md."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from scraper_site.env import Environment


class Command(BaseCommand):
    """Prints every environment variable with its type's default and its meaning."""

    help = "Print the environment variables as a Markdown table."
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        """Print the table."""
        self.stdout.write("| variable | default | meaning |\n|---|---|---|")
        for name, field in Environment.model_fields.items():
            self.stdout.write(
                f"| `{name.upper()}` | {shown(field.default)} | {field.description} |"
            )


def shown(default: object) -> str:
    """A default as it would be written in the environment."""
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, tuple):
        default = ",".join(default)
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, bool):
        default = str(default).lower()
    return f"`{default}`" if default != "" else "empty"
