"""The pytest plugin that gives a run its own PostgreSQL and Valkey: `-p scraper_site.testing`.

Importing it only sets the environment, for the addresses are known beforehand; the engines start
with the session. DATABASE_URL and REDIS_URL from outside replace them. Processes of pytest-xdist
inherit the addresses and start nothing.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import pytest

from scraper_site.embedded import EmbeddedPostgres, EmbeddedValkey, Engines

if TYPE_CHECKING:
    from collections.abc import MutableMapping

ENGINES = pytest.StashKey[Engines]()


def set_environment(environ: MutableMapping[str, str]) -> Path | None:
    """Set what is missing; returns the directory for the engines of this run, if any is."""
    environ.setdefault("SECRET_KEY", secrets.token_urlsafe(48))
    environ.setdefault("HTTPS", "false")
    environ.setdefault("PROCESS_ROLE", "test")
    environ.setdefault("METRICS_PORT", "0")
    # A run starts some two hundred processes: the first compiles, for all of them.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    worker = environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        number = int(worker.removeprefix("gw")) + 1
        environ["REDIS_URL"] = with_database(environ["REDIS_URL"], number)
        return None
    if environ.get("DATABASE_URL") and environ.get("REDIS_URL"):
        return None
    directory = Path(tempfile.mkdtemp(prefix="scraper-tests-")).resolve()
    environ.setdefault("DATABASE_URL", EmbeddedPostgres(directory).url)
    environ.setdefault("REDIS_URL", EmbeddedValkey(directory).url)
    return directory


def with_database(redis_url: str, number: int) -> str:
    """The address with another database number, which redis-py takes from the query first."""
    address, _, query = redis_url.partition("?")
    return f"{address}?{urlencode(dict(parse_qsl(query)) | {'db': str(number)})}"


DIRECTORY = set_environment(os.environ)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the engines, before xdist starts its processes."""
    if DIRECTORY is not None:
        engines = Engines(DIRECTORY, durable=False)
        engines.__enter__()
        session.config.stash[ENGINES] = engines


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the engines and remove what they wrote."""
    if engines := config.stash.get(ENGINES, None):
        engines.__exit__()
    if DIRECTORY is not None:
        shutil.rmtree(DIRECTORY, ignore_errors=True)
