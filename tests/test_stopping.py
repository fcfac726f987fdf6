"""Workers that come and go: told to stop, killed, late, or with nobody who listens to them."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from cachelayer.tests.ports import free_ports
from cachelayer.tests.servers import until
from tests.support import ROOT

pytestmark = [pytest.mark.xdist_group("service"), pytest.mark.django_db(transaction=True)]


def test_a_wait_answers_as_soon_as_the_job_ends(api, start_worker, site_url):
    job_id = api.submit(site_url)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(api.get, f"/api/v1/jobs/{job_id}?wait=30")
        worker = start_worker()
        assert waiting.result(timeout=25).json()["status"] == "succeeded"
    worker.stop()


def test_killing_the_worker_in_the_middle_of_a_run_loses_nothing(api, start_worker, site):
    urls = [f"{site}/catalogue/page-{n}?delay=0.2" for n in range(1, 41)]
    accepted = api.post("/api/v1/batches", {"urls": urls, "formats": ["metadata"]}).json()
    doomed = start_worker(concurrency=10, WORKER_LEASE="2")
    api.finished(accepted["jobs"][0])
    doomed.stop(signal.SIGKILL)
    heir = start_worker(concurrency=10, WORKER_LEASE="2")
    for job_id in accepted["jobs"]:
        assert api.finished(job_id)["status"] == "succeeded"
    heir.stop()
    lines = api.get(accepted["links"]["results"]).text.splitlines()
    assert len(lines) == 40


def test_a_worker_that_is_told_to_stop_finishes_what_it_runs(api, start_worker, site):
    worker = start_worker()
    job_id = api.submit(f"{site}/catalogue/page-1?delay=1")
    api.claimed(job_id)
    assert worker.stop() == 0, worker.lines
    assert api.get(f"/api/v1/jobs/{job_id}").json()["status"] == "succeeded"


def test_a_worker_says_that_it_makes_progress(start_worker):
    (port,) = free_ports(1)
    worker = start_worker(WORKER_HEALTH_PORT=str(port))

    def answers(path):
        answer = requests.get(f"http://127.0.0.1:{port}/health/{path}", timeout=5)
        return (answer.status_code, answer.json()["status"])

    assert answers("live") == (200, "ok")
    until(lambda: answers("ready") == (200, "ok"), "it is ready")
    worker.process.send_signal(signal.SIGSTOP)
    with pytest.raises(requests.Timeout):
        requests.get(f"http://127.0.0.1:{port}/health/live", timeout=0.5)
    worker.process.send_signal(signal.SIGCONT)
    assert worker.stop() == 0, worker.lines


def test_a_worker_whose_output_nobody_reads_any_more_still_stops(database_url):
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "runworker"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url, "PROCESS_ROLE": "worker"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert worker.stdout is not None
        next(line for line in worker.stdout if b"ready" in line)
        worker.stdout.close()
        worker.terminate()
        assert worker.wait(timeout=40) == 0
    finally:
        worker.kill()


def test_a_worker_that_cannot_finish_in_time_gives_its_jobs_back(api, start_worker, site):
    worker = start_worker(WORKER_DRAIN_TIMEOUT="0.2")
    job_id = api.submit(f"{site}/hang")
    api.claimed(job_id)
    assert worker.stop() == 0, worker.lines
    job = api.get(f"/api/v1/jobs/{job_id}").json()
    assert (job["status"], job["attempt"]) == ("queued", 0)


def test_a_status_change_is_seen_although_the_status_was_cached(api, start_worker, site):
    """The waiting answer comes after the commit; plain answers follow within the announcement."""
    job_id = api.submit(f"{site}/catalogue/page-1?delay=0.3")
    assert api.get(f"/api/v1/jobs/{job_id}").json()["status"] == "queued"
    worker = start_worker()
    seen: list[str] = []
    while not seen or seen[-1] != "succeeded":
        status = api.get(f"/api/v1/jobs/{job_id}").json()["status"]
        if not seen or status != seen[-1]:
            seen.append(status)
    assert seen in (["queued", "running", "succeeded"], ["running", "succeeded"], ["succeeded"])
    worker.stop()
