"""A copy of the scratch database, for what is measured in two databases by turns."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def copy_of_database(suffix: str) -> Iterator[str]:
    """Copy the database that Django is connected to; gives the copy's name, drops it at the end."""
    connection.creation.clone_test_db(suffix, verbosity=0, autoclobber=True)
    try:
        yield connection.creation.get_test_db_clone_settings(suffix)["NAME"]
    finally:
        connection.creation.destroy_test_db(suffix=suffix, verbosity=0)


@contextmanager
def connected_to(name: str) -> Iterator[None]:
    """Django's connection, and the engine's, lead to another database of the same server."""
    original = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = original
