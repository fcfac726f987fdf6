"""Boot checks: each closed trap is green here, and each is seen when it is open."""

import gc
import sys
from contextlib import contextmanager
from time import time

import psycopg
import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from cachelayer.layer import cache_layer
from jobs.engine.memory import collect_less, frozen
from performance.analysis import checks
from performance.analysis.checks import CHECKS, processes, servers, settings, silk
from performance.analysis.checks import connections as budgets
from performance.analysis.postgresql import server
from performance.cards.checks import ChecksCard
from performance.cards.shapes import Level
from performance.models import Value
from performance.recording.rescue import failures
from performance.storage.reading import Scope

pytestmark = pytest.mark.django_db


@contextmanager
def database_options(**values):
    before = dict(connection.settings_dict)
    connection.settings_dict.update(values)
    try:
        yield
    finally:
        connection.settings_dict.update(before)


def pool(**options):
    return database_options(OPTIONS={**connection.settings_dict["OPTIONS"], "pool": options})


def set_in_session(name, value):
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [name, value])


def test_every_check_says_what_would_happen_and_what_to_do():
    assert all(check.why.endswith(".") and check.advice.endswith(".") for check in CHECKS)


@pytest.mark.parametrize("role", ["web", "worker"])
def test_every_check_of_a_role_can_be_made(role):
    failures.clear()
    found = checks.run(role)
    assert set(found) == {check.name for check in CHECKS if role in check.roles}
    assert not failures


def test_a_check_that_fails_is_told_as_such(monkeypatch):
    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(checks, "CHECKS", [checks.Check("test", broken, "None.", ("web",))])
    assert checks.run("web") == {"broken": checks.UNKNOWN}


def test_kept_connections_are_a_trap():
    with database_options(CONN_MAX_AGE=60):
        assert settings.connections_are_kept() == "CONN_MAX_AGE is 60"
    assert settings.connections_are_kept() == ""


def test_unchecked_connections_are_a_trap():
    with database_options(CONN_HEALTH_CHECKS=False):
        assert settings.connections_are_not_checked()
    assert settings.connections_are_not_checked() == ""


def test_a_pool_that_lets_requests_wait_for_long_is_a_trap():
    with pool(timeout=30):
        assert "30 s" in settings.pool_waits_too_long()
    with pool(timeout=3):
        assert settings.pool_waits_too_long() == ""


def test_a_pool_that_lets_any_number_wait_is_a_trap():
    with pool(timeout=3):
        assert settings.pool_queue_is_endless()
    with pool(timeout=3, max_waiting=10):
        assert settings.pool_queue_is_endless() == ""


def test_pickle_is_a_trap(settings):
    options = settings.CACHES["default"]["OPTIONS"]
    assert checks.settings.cache_is_pickled() == ""
    settings.CACHES = {"default": {"OPTIONS": {**options, "SERIALIZER": "x.PickleSerializer"}}}
    assert checks.settings.cache_is_pickled()


def test_an_unbounded_cache_pool_is_a_trap(settings):
    assert checks.settings.cache_pool_is_unbounded() == ""
    settings.CACHES = {"default": {"OPTIONS": {}}}
    assert checks.settings.cache_pool_is_unbounded()


def test_compressing_what_is_streamed_is_a_trap(settings):
    assert checks.settings.streams_are_compressed() == ""
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware"]
    assert checks.settings.streams_are_compressed()


@pytest.mark.parametrize(
    ("name", "value", "look"),
    [
        ("MIDDLEWARE", ["silk.middleware.SilkyMiddleware"], silk.silk_is_in_the_middleware),
        ("SILKY_INTERCEPT_PERCENT", 1, silk.silk_records_unasked),
        ("SILKY_INTERCEPT_FUNC", bool, silk.silk_records_unasked),
        ("SILKY_PYTHON_PROFILER", True, silk.silk_profiles_python),
        ("SILKY_PYTHON_PROFILER_FUNC", bool, silk.silk_profiles_python),
        ("SILKY_ANALYZE_QUERIES", True, silk.silk_runs_queries_twice),
        ("SILKY_MAX_RECORDED_REQUESTS_CHECK_PERCENT", 10, silk.silk_cleans_up_in_requests),
        ("SILKY_MAX_REQUEST_BODY_SIZE", -1, silk.silk_keeps_what_was_sent),
        ("SILKY_MAX_RESPONSE_BODY_SIZE", 1024, silk.silk_keeps_answers),
        ("SILKY_AUTHENTICATION", False, silk.silk_asks_for_no_login),
        ("SILKY_AUTHORISATION", False, silk.silk_asks_for_no_permission),
        ("SILKY_PERMISSIONS", lambda user: user.is_staff, silk.silk_is_open_to_staff),
    ],
)
def test_whatever_makes_silk_dear_or_open_is_a_trap(name, value, look):
    assert look() == ""
    with override_settings(**{name: value}):
        assert (name if name.startswith("SILKY") else "SilkyMiddleware") in look()
    assert look() == ""


def test_of_what_is_not_set_silks_own_value_counts(settings):
    del settings.SILKY_AUTHENTICATION
    del settings.SILKY_MAX_RESPONSE_BODY_SIZE
    assert silk.silk_asks_for_no_login()
    assert "unlimited" in silk.silk_keeps_answers()


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("statement_timeout", servers.statements_run_for_ever),
        ("idle_in_transaction_session_timeout", servers.transactions_idle_for_ever),
    ],
)
def test_time_without_end_is_a_trap(name, look):
    assert look() == ""
    set_in_session(name, "0")
    assert look() == f"{name} is 0"


def test_a_commit_that_is_not_durable_is_a_trap():
    set_in_session("synchronous_commit", "off")
    assert "synchronous_commit" in servers.commits_are_not_durable()


def tell_pools(instance, role, *pools):
    names = ("name", "size", "max")
    document = {"role": role, "pools": [dict(zip(names, one, strict=True)) for one in pools]}
    Value.objects.create(
        type="pools", instance=instance, document=document, updated_at=timezone.now()
    )


def test_more_connections_than_postgresql_has_are_a_trap():
    most = server.budget().most
    tell_pools("worker/a/1", "worker", ("PostgreSQL asyncpg", 0, 5), ("Valkey", 0, 10_000))
    tell_pools("web/a/7", "web", ("PostgreSQL default", 0, most // 3))
    assert budgets.budget_is_exceeded() == ""
    # Another machine's process may have the same number.
    tell_pools("web/b/7", "web", ("PostgreSQL default", 0, most // 3))
    assert budgets.budget_is_exceeded() == ""
    tell_pools("web/c/7", "web", ("PostgreSQL default", 0, most // 3))
    assert f"PostgreSQL has {most}" in budgets.budget_is_exceeded()


def test_a_web_process_has_a_connection_beside_its_pool():
    budget = server.budget()
    for number in range(budget.open + 1):
        tell_pools(f"web/{number}", "web", ("PostgreSQL default", 0, 0))
    tell_pools("worker/1", "worker", ("PostgreSQL claims", 0, budget.most - budget.open))
    assert "filled" in budgets.budget_is_exceeded()


def test_garbage_collection_of_what_was_imported_is_a_trap():
    thresholds = gc.get_threshold()
    frozen.cache_clear()
    assert processes.collector_is_not_tuned()
    collect_less()
    assert processes.collector_is_not_tuned() == ""
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    frozen.cache_clear()


def test_a_fork_after_the_import_is_a_trap(monkeypatch):
    assert processes.application_is_preloaded() == ""
    monkeypatch.setattr(processes, "IMPORTED_BY", 1)
    assert processes.application_is_preloaded()


def test_waiting_in_c_is_a_trap(monkeypatch):
    """As in this process, in which gevent has patched nothing."""
    assert "before gevent" in processes.waits_block_the_hub()
    monkeypatch.setattr("psycopg.waiting.wait", psycopg.waiting.wait_selector)
    assert processes.waits_block_the_hub() == ""


def test_a_worker_on_the_loop_of_asyncio_is_a_trap(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", sys)
    assert processes.loop_is_slow() == ""
    monkeypatch.delitem(sys.modules, "uvloop")
    assert processes.loop_is_slow()


@pytest.mark.parametrize("version", ["3.13.5", "3.14.3"])
def test_an_old_aiohttp_is_a_trap(monkeypatch, version):
    assert processes.aiohttp_is_old() == ""
    monkeypatch.setattr("aiohttp.__version__", version)
    assert processes.aiohttp_is_old() == f"aiohttp is {version}"


def test_an_engine_without_its_tables_is_a_trap():
    assert processes.engine_schema_is_missing() == ""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DROP TABLE pgqueuer CASCADE")
        assert processes.engine_schema_is_missing()
        transaction.set_rollback(True)


@pytest.mark.parametrize("seconds", [-10, 10])
def test_a_clock_that_is_off_is_a_trap(monkeypatch, seconds):
    assert servers.clocks_disagree() == ""
    monkeypatch.setattr(servers, "time", lambda: time() + seconds)
    assert "10.0 s off" in servers.clocks_disagree()


def test_a_session_that_others_have_too_is_a_trap():
    assert servers.sessions_are_shared() == ""
    assert servers.is_one_session(connection, connection)


def test_a_cache_that_never_evicts_is_a_trap():
    remote = cache_layer().remote
    names = ("maxmemory", "maxmemory-policy")
    (before,) = remote.call(("CONFIG", "GET", *names))
    try:
        remote.call(("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru"))
        assert servers.cache_never_evicts() == ""
        remote.call(("CONFIG", "SET", "maxmemory-policy", "noeviction"))
        assert servers.cache_never_evicts() == "maxmemory-policy is noeviction"
    finally:
        remote.call(("CONFIG", "SET", *(part for pair in before.items() for part in pair)))


def tell(instance, **found):
    Value.objects.create(
        type="checks", instance=instance, document={"found": found}, updated_at=timezone.now()
    )


def test_one_open_trap_in_one_process_is_red_and_first():
    tell("web/1", waits_block_the_hub="", connections_are_kept="")
    tell("web/2", waits_block_the_hub="psycopg was first", connections_are_kept="")
    content = ChecksCard().content(Scope())
    assert content.health
    assert content.health.level is Level.RED
    first = content.tables[0].rows[0]
    assert first.cells["state"] == "open"
    assert (first.cells["where"], first.cells["found"]) == ("web/2", "psycopg was first")


def test_closed_traps_are_green():
    tell("web/1", **dict.fromkeys([check.name for check in CHECKS], ""))
    health = ChecksCard().content(Scope()).health
    assert health
    assert health.level is Level.GREEN


def test_a_trap_that_nobody_looked_for_is_not_said_to_be_closed():
    tell("web/1", **{check.name: "" for check in CHECKS if "web" in check.roles})
    content = ChecksCard().content(Scope())
    first = content.tables[0].rows[0]
    assert content.health
    assert (content.health.level, first.cells["state"]) == (Level.YELLOW, "not checked")
    assert f"unknown: {first.cells['check']}" in content.health.reason


def test_of_a_process_only_the_traps_of_its_role_are_shown():
    found = {check.name: "" for check in CHECKS if "web" in check.roles}
    tell("web/1", **found)
    content = ChecksCard().content(Scope(instance="web/1"))
    assert content.health
    assert content.health.level is Level.GREEN
    assert len(content.tables[0].rows) == len(found)


def test_a_check_that_has_failed_is_no_open_trap():
    tell("web/1", **{check.name: "" for check in CHECKS} | {CHECKS[0].name: checks.UNKNOWN})
    content = ChecksCard().content(Scope())
    first = content.tables[0].rows[0]
    assert content.health
    assert (content.health.level, first.level) == (Level.YELLOW, Level.YELLOW)
    assert (first.cells["state"], first.cells["where"]) == ("unknown", "web/1")


def test_before_any_process_has_told_the_card_says_so():
    assert "few seconds" in ChecksCard().content(Scope()).empty
