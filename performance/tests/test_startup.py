"""What a process pays for watching that is not watched, as a command: it imports no sampler."""

import os
import subprocess
import sys

import pytest
from django.conf import settings

from jobs.signals import worker_started
from performance.apps import watch_worker
from performance.tests.conftest import WATCHED

LOADED = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "scraper_site.settings"
import django
django.setup()
print(*[name for name in sys.argv[1:] if name in sys.modules])
"""


@pytest.fixture
def started(monkeypatch):
    """The receivers of `worker_started`, without those of the tests' own process."""
    monkeypatch.setattr(worker_started, "receivers", [])
    return worker_started.receivers


def test_a_command_imports_recorders_and_leaves_out_samplers_and_profilers():
    wanted = ["performance.recorders.queries", "performance.observing", "memray"]
    answer = subprocess.run(
        [sys.executable, "-c", LOADED, *wanted],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == wanted[:1]


WITHOUT_THREADS = """
import threading, django
django.setup()
from performance.observing import start
# No thread can have that much.
threading.stack_size(1 << 46)
print(start("web"))
"""


def test_a_process_that_cannot_be_watched_starts_all_the_same():
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT_THREADS],
        cwd=settings.BASE_DIR,
        env=os.environ | WATCHED | {"DJANGO_SETTINGS_MODULE": "scraper_site.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == ["None"]
    assert "recorder observer failed" in answer.stderr


def test_a_worker_that_starts_is_watched_once_however_often_that_is_told(started):
    for _ in range(2):
        watch_worker()
    assert len(started) == 1


UNWATCHED = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "scraper_site.settings"
import django
django.setup()
from django.db import connection
from django.test import Client
from performance.recording.process import buffer
print(Client(HTTP_HOST="127.0.0.1").get("/nowhere").status_code)
print(type(connection.pool).__name__)
print(bool(buffer.take("me").tallies))
from cachelayer.pools.lending import coroutines, threads
from jobs.engine.pools import lending
print({one.is_watched for one in (threads, coroutines, lending)})
"""


@pytest.mark.parametrize(
    ("enabled", "said"),
    [
        ("true", ["404", "WatchedPool", "True", "{True}"]),
        ("false", ["404", "ConnectionPool", "False", "{False}"]),
    ],
)
def test_a_process_that_is_not_watched_records_nothing(enabled, said):
    environment = {"PERFORMANCE_ENABLED": enabled, "PROCESS_ROLE": "web"}
    answer = subprocess.run(
        [sys.executable, "-c", UNWATCHED],
        cwd=settings.BASE_DIR,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == said
