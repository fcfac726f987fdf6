"""What a process pays for watching that is not watched, as a command: it imports no sampler."""

import subprocess
import sys

import pytest
from django.conf import settings

from jobs.signals import worker_started
from performance.apps import watch_worker

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


def test_a_worker_that_starts_is_watched_once_however_often_that_is_told(started):
    for _ in range(2):
        watch_worker()
    assert len(started) == 1
