"""The system's PostgreSQL as its package leaves it, and a role that may do nothing but its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import dj_database_url
import psycopg
import pytest
from django.db import connections

from scraper_site.embedded import EmbeddedPostgres
from scraper_site.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALLED = Path("/usr/lib/postgresql")
HYPOPG = "/usr/share/postgresql/{version}/extension/hypopg.control"
READY_WITHIN = 30.0


class SystemPostgres(EmbeddedPostgres):
    """One of Debian's: nothing preloaded, no timing of I/O; `scraper` has a database of its own."""

    locale: ClassVar = ("--locale=C.UTF-8",)
    settings: ClassVar = {"listen_addresses": "", "unix_socket_permissions": "0700"}

    def binaries(self) -> Path:
        """Of the oldest version that hypopg is installed for, or the test is skipped; CI fails."""
        found = [
            one
            for one in INSTALLED.glob("*/bin")
            if Path(HYPOPG.format(version=one.parent.name)).exists()
        ]
        if not found:
            text = "no PostgreSQL with hypopg: on Debian 12 `apt-get install postgresql-15-hypopg`"
            if os.environ.get("CI"):
                pytest.fail(text)
            pytest.skip(text)
        return min(found, key=lambda one: int(one.parent.name))

    @property
    def ordinary_url(self) -> str:
        """Its database as the role that owns it, and has no other right."""
        return self.url.replace("postgres@", "scraper@")

    def administer(self, *statements: str) -> None:
        """Do what only a superuser may, in that database."""
        with psycopg.connect(self.url, autocommit=True) as administrator:
            for statement in statements:
                administrator.execute(statement.encode())


@contextmanager
def system_postgres() -> Iterator[SystemPostgres]:
    """The server, which runs inside."""
    # Not pytest's directory, which is closed to the user that root lets PostgreSQL run as.
    directory = Path(tempfile.mkdtemp(prefix="scraper-")).resolve()
    try:
        server = SystemPostgres(directory, durable=False)
        server.prepare()
        with Supervisor(lambda *_: None) as supervisor:
            supervisor.start(server.command())
            supervisor.wait_ready(READY_WITHIN)
            server.create_database()
            server.administer(
                "CREATE ROLE scraper LOGIN", "ALTER DATABASE scraper OWNER TO scraper"
            )
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def connected(url: str) -> Iterator[None]:
    """Django's connection of this thread leads to another server."""
    ours = connections["default"]
    there, wanted = ours.copy(), dj_database_url.parse(url)
    options = there.settings_dict["OPTIONS"] | wanted["OPTIONS"]
    there.settings_dict |= wanted | {"OPTIONS": options}
    connections["default"] = there
    try:
        yield
    finally:
        there.close()
        connections["default"] = ours
