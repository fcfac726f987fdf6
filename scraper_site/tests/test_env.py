"""The environment: typed, bounded, and loud about what is wrong."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

from scraper_site.env import Environment, EnvironmentInvalid, environment

REQUIRED = {
    "SECRET_KEY": "k" * 32,
    "DATABASE_URL": "postgres://host/db",
    "REDIS_URL": "redis://host",
}


@pytest.fixture
def read(monkeypatch):
    """The environment as read from nothing but the given variables."""

    def read(**variables):
        for name in Environment.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return environment.__wrapped__()

    return read


def test_the_defaults_are_the_documented_ones(read):
    env = read(**REQUIRED)
    assert (env.db_pool_size, env.db_max_overflow, env.db_pool_recycle) == (20, 30, 3600)
    assert (env.redis_max_connections, env.redis_health_check_interval) == (50, 30)
    assert (env.cache_default_ttl, env.cache_max_memory_size) == (3600, 104857600)
    assert (env.http_timeout, env.http_max_connections, env.http_max_retries) == (30, 100, 3)


def test_everything_that_is_missing_is_named_at_once(read):
    with pytest.raises(EnvironmentInvalid) as refusal:
        read()
    assert all(name in str(refusal.value) for name in REQUIRED)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_POOL_SIZE", "many"),
        ("DB_POOL_SIZE", "0"),
        ("HTTP_TIMEOUT", "-1"),
        ("HTTPS", "perhaps"),
        ("PORT", "65536"),
        ("LOG_LEVEL", "loud"),
        ("OFF_PEAK_HOURS", "22-6"),
        ("OFF_PEAK_HOURS", "24:00-06:00"),
        ("OFF_PEAK_TIMEZONE", "Europe/Atlantis"),
        ("RESULT_RETENTION_DAYS", "-1"),
        ("DATABASE_URL", "sqlite:///x"),
        ("REDIS_URL", "memcached://host"),
        ("SECRET_KEY", "short"),
        ("ALERT_RULES", "queue_age=1800"),
        ("ALERT_RULES", '{"queue_age":1800}'),
        ("PUBLIC_URL", "scraper.example"),
        ("EMAIL_FROM", "alerts"),
        ("EMAIL_SECURITY", "ssl"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_never_shown(read, name, value):
    with pytest.raises(EnvironmentInvalid) as refusal:
        read(**{**REQUIRED, name: value})
    assert name in str(refusal.value)
    assert value not in str(refusal.value).replace(name, "").split() or value.isdigit()


def test_an_empty_variable_counts_as_unset(read):
    assert read(**REQUIRED, DB_POOL_SIZE="").db_pool_size == 20


def test_lists_are_split_at_commas(read):
    assert read(**REQUIRED, ALLOWED_HOSTS="a.example, b.example,").allowed_hosts == (
        "a.example",
        "b.example",
    )


def test_alert_rules_are_json(read):
    changes = '{"queue_age": {"threshold": 1800}}'
    rules = read(**REQUIRED, ALERT_RULES=changes).alert_rules
    assert rules["queue_age"].model_dump(exclude_unset=True) == {"threshold": 1800}
    assert read(**REQUIRED).alert_rules == {}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("threshold", '"abc"'),
        ("threshold", "NaN"),
        ("holds_for", "-1"),
        ("enabled", '"false"'),
        ("severity", '"urgent"'),
        ("treshold", "1800"),
    ],
)
def test_what_an_alert_rule_has_no_use_for_is_refused_with_its_place(read, member, value):
    with pytest.raises(EnvironmentInvalid) as refusal:
        read(**REQUIRED, ALERT_RULES=f'{{"queue_age": {{"{member}": {value}}}}}')
    assert f"ALERT_RULES (queue_age.{member}): " in str(refusal.value)


def test_the_secret_key_does_not_show_in_the_environments_own_text(read):
    assert REQUIRED["SECRET_KEY"] not in repr(read(**REQUIRED))


def test_the_documentation_lists_every_variable():
    table = StringIO()
    call_command("configuration", stdout=table)
    documented = Path(settings.BASE_DIR, "docs/configuration.md").read_text()
    assert table.getvalue().strip() in documented


def started_with(**variables):
    """How the settings say they would connect, as a process with these variables sees them."""
    code = (
        "from django.conf import settings;"
        "print(settings.DATABASES['default']['OPTIONS']['pool'],"
        "settings.DATABASES['default']['OPTIONS']['application_name'],"
        "settings.DATABASES['default']['OPTIONS']['options'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "scraper_site.settings", **variables},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_web_process_pools_between_the_size_and_the_size_with_overflow():
    shown = started_with(PROCESS_ROLE="web", DB_POOL_SIZE="3", DB_MAX_OVERFLOW="4")
    assert "'min_size': 3, 'max_size': 7" in shown
    assert "scraper/web/" in shown


def test_a_command_does_not_pool():
    assert started_with(PROCESS_ROLE="command").startswith("False")


def test_every_connection_has_its_limits():
    shown = started_with(DB_STATEMENT_TIMEOUT="7", DB_IDLE_IN_TRANSACTION_TIMEOUT="8")
    assert "statement_timeout=7s" in shown
    assert "idle_in_transaction_session_timeout=8s" in shown
    assert "jit=off" in shown
