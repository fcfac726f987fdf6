"""What the service does when PostgreSQL goes away while it works."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

from scraper_site.embedded import Engines
from scraper_site.supervisor import Supervisor
from tests.support import ROOT, Service

pytestmark = pytest.mark.xdist_group("lost engines")

SUBMIT = """
from django.contrib.auth.models import User
from django.core.management import call_command
from jobs.engine.queue import JobSpec
from jobs.services import create_client, submit_job
call_command("migrate", verbosity=0)
client = create_client(owner=User.objects.create(username="u"), name="c")
spec = JobSpec(url="{url}", formats=("html",), max_attempts=1, timeout=30)
submit_job(client=client, spec=spec)
"""


@pytest.fixture
def engines(tmp_path_factory, monkeypatch):
    """Supervised engines of this test's own, which the processes it starts use."""
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")
    engines = Engines(tmp_path_factory.mktemp("engines"), durable=False)
    with Supervisor(lambda _name, _line: None) as supervisor, engines.start(supervisor):
        supervisor.settle()
        for engine in engines.wanted:
            monkeypatch.setenv(engine.variable, engine.url)
        yield engines, supervisor
        supervisor.stop()


def submit(url):
    """Have a migrated database, and the job in it."""
    code = ["shell", "--verbosity", "0", "-c", SUBMIT.format(url=url)]
    subprocess.run([sys.executable, "manage.py", *code], cwd=ROOT, check=True)


def kill_postgresql(engines):
    pid_file = engines.postgres.pgdata / "postmaster.pid"
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)


def test_a_worker_stops_in_time_though_its_results_cannot_be_stored(engines, site):
    _, supervisor = engines
    submit(f"{site}/catalogue/page-1?delay=1")
    worker = Service(
        ["manage.py", "runworker"],
        FETCH_ALLOWED_ADDRESSES=urlsplit(site).netloc,
        WORKER_DRAIN_TIMEOUT="2",
        LOG_LEVEL="DEBUG",
    )
    worker.wait_for("claimed 1 job")
    supervisor.stop()
    worker.wait_for("results wait for PostgreSQL")
    assert worker.stop(seconds=10) != 0
    assert any("run again" in line for line in worker.lines)


def test_a_scrape_that_runs_while_postgresql_restarts_is_not_run_again(engines, site):
    """Its only attempt: were the scrape given up with the connection, the job would fail."""
    engine, supervisor = engines
    submit(f"{site}/catalogue/page-1?delay=2")
    worker = Service(
        ["manage.py", "runworker"],
        FETCH_ALLOWED_ADDRESSES=urlsplit(site).netloc,
        LOG_LEVEL="DEBUG",
    )
    worker.wait_for("claimed 1 job")
    kill_postgresql(engine)
    state = None

    def has_ended():
        nonlocal state
        with suppress(psycopg.OperationalError), psycopg.connect(engine.postgres.url) as connection:
            state = connection.execute("SELECT state, attempt FROM jobs_job").fetchone()
        return state is not None and state[0] in {"succeeded", "failed"}

    assert supervisor.wait_until(has_ended, 30)
    assert state == ("succeeded", 1)
    assert worker.stop() == 0, worker.lines


def test_a_web_server_serves_again_soon_after_postgresql_was_killed(engines, start_web):
    """Its pool of 20 dead connections is given up as a whole, not one by one."""
    engine, supervisor = engines
    with start_web(DATABASE_URL=engine.postgres.url, DB_POOL_SIZE="20", DB_POOL_TIMEOUT="1") as web:
        assert requests.get(f"{web}/health/ready", timeout=10).status_code == 200
        kill_postgresql(engine)
        answers = []

        def serves_again():
            answers.append(requests.get(f"{web}/health/ready", timeout=10).status_code)
            return answers[-1] == 200

        assert supervisor.wait_until(serves_again, 30)
        assert set(answers) <= {200, 503}
        assert len(answers) < 10
