"""What a worker does when PostgreSQL goes away for good while it works."""

import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from scraper_site.embedded import Engines
from tests.support import ROOT, Service

pytestmark = pytest.mark.xdist_group("service")

SUBMIT = """
from django.contrib.auth.models import User
from jobs.engine.queue import JobSpec
from jobs.services import create_client, submit_job
client = create_client(owner=User.objects.create(username="u"), name="c")
spec = JobSpec(url="{url}", formats=("html",), max_attempts=1, timeout=30)
submit_job(client=client, spec=spec)
"""


@pytest.fixture
def engines(tmp_path_factory, monkeypatch):
    """Engines of this test's own, with a migrated database."""
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")
    engines = Engines(tmp_path_factory.mktemp("engines"), durable=False)
    environment = engines.__enter__()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield engines
    engines.__exit__()


def manage(*arguments):
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=True)


def test_a_worker_stops_in_time_though_its_results_cannot_be_stored(engines, site):
    manage("migrate", "--verbosity", "0")
    manage("shell", "--verbosity", "0", "-c", SUBMIT.format(url=f"{site}/catalogue/page-1?delay=1"))
    worker = Service(
        ["manage.py", "runworker"],
        FETCH_ALLOWED_ADDRESSES=urlsplit(site).netloc,
        WORKER_DRAIN_TIMEOUT="2",
        LOG_LEVEL="DEBUG",
    )
    worker.wait_for("ready")
    worker.wait_for("claimed 1 job")
    engines.__exit__()
    worker.wait_for("results wait for PostgreSQL")
    assert worker.stop(seconds=10) != 0
    assert any("run again" in line for line in worker.lines)
