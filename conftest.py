"""Fixtures for every test: people and keys, and the real processes around the service."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test import override_settings

from cachelayer.layer import cache_layer
from tests.support import Api, Service, Tenant, make_tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import pytest_django
    from django.core.management.color import Style

# What a process records would turn up in the tests of the console, which use the same database.
UNWATCHED = {"PERFORMANCE_ENABLED": "false"}


@pytest.fixture(scope="session", autouse=True)
def _hears() -> None:
    """This process hears of invalidations: it empties its level 1 when it begins to."""
    messages = cache_layer().messages
    messages.listen()
    assert messages.connected.wait(10)


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> Iterator[None]:
    """Most tests of pages log in."""
    with override_settings(PASSWORD_HASHERS=["tests.support.QuickHasher"]):
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_emptying() -> Iterator[None]:
    """Tests that commit leave rows in few tables: only those are emptied, not all sixty."""

    def sql_flush(
        operations: DatabaseOperations, style: Style, tables: list[str], **options: bool
    ) -> list[str]:
        parts = [f"SELECT '{name}' WHERE EXISTS (SELECT FROM \"{name}\")" for name in tables]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts))
            filled = [name for (name,) in cursor.fetchall()]
        return whole(operations, style, filled, **options | {"allow_cascade": True})

    whole = DatabaseOperations.sql_flush
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", sql_flush)
        yield


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Iterator[None]:
    """What a test has started and, as it failed, not stopped would work for those after it."""
    before = set(Service.running)
    yield
    for service in Service.running - before:
        service.stop(signal.SIGKILL)


@pytest.fixture
def tenant(db: None) -> Tenant:
    """A tenant in the test's transaction."""
    return make_tenant()


@pytest.fixture
def other_tenant(db: None) -> Tenant:
    """A second tenant, who must not see the first one's things."""
    return make_tenant()


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The practice site's base URL."""
    service = Service(["-m", "loadtests.site", "--port", "0"])
    yield service.wait_for(r"http://[\d.]+:\d+").group()
    service.stop()


@pytest.fixture(scope="session")
def database_url(django_db_setup: None) -> str:
    """The test database's address, for other processes."""
    name = connection.settings_dict["NAME"]
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="session")
def start_worker(site: str, database_url: str) -> Callable[..., Service]:
    """Starts worker processes that may scrape the practice site."""

    def start(concurrency: int = 20, **environment: str) -> Service:
        service = Service(
            ["manage.py", "runworker", "--concurrency", str(concurrency)],
            DATABASE_URL=database_url,
            PROCESS_ROLE="worker",
            FETCH_ALLOWED_ADDRESSES=urlsplit(site).netloc,
            **UNWATCHED | environment,
        )
        service.wait_for("ready")
        return service

    return start


@pytest.fixture
def worker(start_worker: Callable[..., Service]) -> Iterator[Service]:
    """A running worker."""
    service = start_worker()
    yield service
    assert service.stop() == 0, "\n".join(service.lines)


@pytest.fixture(scope="session")
def start_web(database_url: str) -> Callable[..., AbstractContextManager[str]]:
    """Starts web servers on the test database; each is a context that gives its base URL."""

    @contextmanager
    def start(**environment: str) -> Iterator[str]:
        defaults = UNWATCHED | {
            "DATABASE_URL": database_url,
            "DB_POOL_SIZE": "2",
            "WEB_CONCURRENCY": "1",
        }
        service = Service(
            ["-m", "gunicorn", "-c", "python:scraper_site.gunicorn_conf", "--bind", "127.0.0.1:0"],
            **defaults | environment,
        )
        try:
            yield service.wait_for(r"http://[\d.]+:\d+").group()
        finally:
            service.stop()

    return start


@pytest.fixture(scope="session")
def web(start_web: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """The base URL of a web server on the test database."""
    with start_web() as base:
        yield base


@pytest.fixture(scope="module")
def lasting_database(
    django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker
) -> Iterator[None]:
    """The test database for tests that share processes, which no test may empty under them.

    Each has a tenant of its own; all is emptied after the module's last.
    """
    with django_db_blocker.unblock():
        yield
        call_command("flush", verbosity=0, interactive=False, reset_sequences=False)


@pytest.fixture
def committed_tenant(transactional_db: None) -> Tenant:
    """A tenant that other processes see."""
    return make_tenant()


@pytest.fixture
def api(web: str, committed_tenant: Tenant) -> Api:
    """The API as a new tenant."""
    return Api(web, committed_tenant)


@pytest.fixture
def site_url(site: str) -> str:
    """The practice site's first listing page."""
    return f"{site}/catalogue/page-1"


@pytest.fixture(autouse=True)
def _empty_memory() -> None:
    """No test sees what another one left in this process's level 1."""
    cache_layer().local.clear()
    cache_layer().tags.forget_all()
