"""Metrics as Prometheus gets them when something is in the way, and of a full queue."""

import shutil
import signal
import socket
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import requests

from cachelayer.tests.ports import HOST
from performance.tests.metered import Scraped, listings, metrics_port, started, telling, until_told
from tests.support import Api

pytestmark = [pytest.mark.xdist_group("watched service"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def port():
    return metrics_port()


@pytest.fixture
def servers(database_url, port):
    with telling(database_url, port) as servers:
        yield servers


def test_a_process_starts_although_somebody_has_removed_the_files(servers, port):
    left, doomed = map(psutil.Process, servers.processes)
    (directory,) = {Path(file.path).parent for file in left.open_files() if ".db" in file.path}
    shutil.rmtree(directory)
    doomed.send_signal(signal.SIGKILL)
    until_told(
        lambda: Scraped(port).value("service_processes", role="web") == 1, "the new one tells"
    )
    assert left.pid in servers.processes


def test_the_queue_is_the_fleets(servers, port, committed_tenant, site):
    for _ in range(3):
        Api(servers.base, committed_tenant).submit(f"{site}/hang")
    until_told(
        lambda: Scraped(port).value("job_queue_size", state="ready") == 3, "jobs are counted"
    )
    told = Scraped(port)
    assert told.value("job_queue_size", state="running") == 0
    assert told.value("job_queue_oldest_seconds") > 0


def test_without_valkey_an_autoscaler_is_told_all_the_same(database_url, port, committed_tenant):
    with started(database_url, port, REDIS_URL="redis://127.0.0.1:1/0") as servers:
        servers.service.wait_for("metrics at")
        servers.ask(committed_tenant, 5)
        until_told(lambda: listings(port) == 5, "requests are counted")
        Api(servers.base, committed_tenant).submit("http://example.com/")
        until_told(lambda: Scraped(port).value("job_queue_size", state="ready") == 1, "so are jobs")
        until_told(
            lambda: Scraped(port).value("observer_dropped_messages_total"), "messages are dropped"
        )
        told = Scraped(port)
        assert told.value("http_requests_per_second") > 0
        assert told.value("cache_breaker_open") == 2


def test_a_taken_port_stops_no_worker(start_worker, port):
    with closing(socket.create_server((HOST, port + 1))):
        worker = start_worker(METRICS_PORT=str(port))
        found = int(worker.wait_for(r"metrics at http://[\d.]+:(\d+)").group(1))
        assert found > port + 1
        assert worker.stop() == 0


def test_a_server_whose_port_is_taken_serves_and_takes_it_when_it_is_free(database_url, port):
    with (
        closing(socket.create_server((HOST, port))) as taken,
        started(database_url, port) as servers,
    ):
        servers.service.wait_for(f"no metrics yet: port {port} is taken")
        assert requests.get(f"{servers.base}/health/live", timeout=10).status_code == 200
        taken.close()
        servers.service.wait_for("metrics at")
        until_told(lambda: Scraped(port).value("service_processes", role="web") == 2, "both tell")
