"""Metrics as Prometheus gets them: of two web processes as one, and of a worker."""

import shutil
import signal
import socket
from collections import Counter
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from cachelayer.tests.servers import HOST, free_ports, until
from performance.metrics.catalogue import BY_ROLE, MOST_SERIES
from performance.storage.reading import values
from tests.support import Api, Service

pytestmark = [pytest.mark.xdist_group("service"), pytest.mark.django_db(transaction=True)]

LISTING = {"method": "GET", "route": "/api/v1/jobs", "status": "2xx"}


class Servers(NamedTuple):
    """A web server with two processes, and its address."""

    service: Service
    base: str

    @property
    def processes(self):
        return [child.pid for child in psutil.Process(self.service.process.pid).children()]

    def ask(self, tenant, number):
        """Requests on connections of their own, so that both processes get some."""
        api = Api(self.base, tenant)
        for _ in range(number):
            assert api.get("/api/v1/jobs").status_code == 200


class Scraped:
    """What was told at an address."""

    def __init__(self, port):
        answer = requests.get(f"http://{HOST}:{port}/metrics", timeout=10)
        self.families = {one.name: one for one in text_string_to_metric_families(answer.text)}

    def value(self, name, **labels):
        return next(
            (
                sample.value
                for family in self.families.values()
                for sample in family.samples
                if sample.name == name and sample.labels == labels
            ),
            None,
        )


@pytest.fixture
def start_servers(database_url):
    @contextmanager
    def start(port, **environment):
        service = Service(
            ["-m", "gunicorn", "-c", "python:scraper_site.gunicorn_conf", "--bind", f"{HOST}:0"],
            DATABASE_URL=database_url,
            DB_POOL_SIZE="2",
            WEB_CONCURRENCY="2",
            METRICS_PORT=str(port),
            **environment,
        )
        try:
            yield Servers(service, service.wait_for(r"Listening at: (\S+)").group(1))
        finally:
            service.stop()

    return start


@pytest.fixture
def port():
    """One after which there is room for workers."""

    def found():
        for candidate in free_ports(20):
            with closing(socket.socket()) as probe:
                if candidate < 65_000 and probe.connect_ex((HOST, candidate + 1)):
                    return candidate
        return None

    return until(found, "two free ports in a row")


@pytest.fixture
def servers(start_servers, port):
    with start_servers(port) as servers:
        servers.service.wait_for("metrics at")
        until(lambda: Scraped(port).value("service_processes", role="web") == 2, "both tell")
        yield servers


def are_others(servers, before):
    return servers.processes and not set(before) & set(servers.processes)


def listings(port):
    return Scraped(port).value("http_requests_total", **LISTING) or 0


def test_the_requests_of_two_processes_add_up(servers, port, committed_tenant):
    servers.ask(committed_tenant, 40)
    until(lambda: listings(port) == 40, "all are counted")
    until(
        lambda: Scraped(port).value("db_connections_created_total", pool="default") >= 2,
        "both have opened their pools",
    )
    told = Scraped(port)
    route = {key: LISTING[key] for key in ("method", "route")}
    assert told.value("http_request_duration_seconds_count", **route) == 40
    assert told.value("http_requests_per_second") > 0
    assert told.value("memory_usage_bytes") > told.value("memory_usage_largest_process_bytes") > 0
    hits = told.families["cache_hits"].samples
    assert sum(one.value for one in hits if one.labels["namespace"] == "api-key") > 0


def test_what_a_killed_process_has_counted_stays_and_its_state_goes(
    servers, port, committed_tenant
):
    servers.ask(committed_tenant, 30)
    until(lambda: listings(port) == 30, "all are counted")
    psutil.Process(servers.processes[0]).send_signal(signal.SIGKILL)
    seen = set()

    def live_processes():
        told = Scraped(port)
        seen.add(told.value("http_requests_total", **LISTING))
        return told.value("service_processes", role="web")

    until(lambda: live_processes() == 1, "its state has gone")
    until(lambda: live_processes() == 2, "another has taken its place")
    assert seen == {30}


def test_a_process_starts_although_somebody_has_removed_the_files(servers, port):
    left, doomed = map(psutil.Process, servers.processes)
    (directory,) = {Path(file.path).parent for file in left.open_files() if ".db" in file.path}
    shutil.rmtree(directory)
    doomed.send_signal(signal.SIGKILL)
    until(lambda: Scraped(port).value("service_processes", role="web") == 1, "the new one tells")
    assert left.pid in servers.processes


def test_what_a_process_has_seen_last_is_told_as_it_ends(servers, port, committed_tenant):
    for number in range(1, 4):
        servers.ask(committed_tenant, 10)
        before = servers.processes
        servers.service.process.send_signal(signal.SIGHUP)
        until(partial(are_others, servers, before), "both are replaced")
        assert listings(port) == 10 * number


def test_every_promised_metric_has_its_help_and_few_series(servers, port, start_worker):
    worker = start_worker(METRICS_PORT=str(port))
    scraped = {
        "web": Scraped(port),
        "worker": Scraped(worker.wait_for(r"metrics at http://[\d.]+:(\d+)").group(1)),
    }
    for role, told in scraped.items():
        for metric in BY_ROLE[role]:
            family = told.families[metric.name.removesuffix("_total")]
            assert (family.type, family.documentation) == (metric.kind, metric.about)
        assert {family.documentation for family in told.families.values()} >= {"Entries found."}
        for family in told.families.values():
            series = Counter(sample.name for sample in family.samples)
            assert max(series.values(), default=0) <= MOST_SERIES * 20, family.name
            names = {label for sample in family.samples for label in sample.labels}
            assert not names & {"pid", "url", "tenant", "client", "instance"}, family.name
    assert worker.stop() == 0


def test_a_worker_tells_what_became_of_jobs(servers, port, start_worker, committed_tenant, site):
    worker = start_worker(METRICS_PORT=str(port))
    metrics = int(worker.wait_for(r"metrics at http://[\d.]+:(\d+)").group(1))
    assert port < metrics <= port + 100
    api = Api(servers.base, committed_tenant)
    api.finished(api.submit(f"{site}/catalogue/page-1"))
    api.finished(api.submit(f"{site}/products/unknown", max_attempts=1))

    def are_told():
        told = Scraped(metrics)
        return told.value("job_attempts_total", outcome="failed") == 1 and told

    told = until(are_told, "both are counted")
    assert told.value("job_attempts_total", outcome="succeeded") == 1
    assert told.value("job_errors_total", code="http_4xx") == 1
    assert told.value("job_queued_seconds_count") == 2
    assert told.value("fetch_duration_seconds_count") == 2
    assert told.value("worker_concurrency") == 20
    assert told.value("django_migrations_unapplied_total", connection="default") == 0
    until(
        lambda: metrics in [one.get("metrics_port") for one in values("process").values()],
        "the console knows where its metrics are",
    )
    assert worker.stop() == 0


def test_the_queue_is_the_fleets(servers, port, committed_tenant, site):
    for _ in range(3):
        Api(servers.base, committed_tenant).submit(f"{site}/hang")
    until(lambda: Scraped(port).value("job_queue_size", state="ready") == 3, "jobs are counted")
    told = Scraped(port)
    assert told.value("job_queue_size", state="running") == 0
    assert told.value("job_queue_oldest_seconds") > 0


def test_without_valkey_an_autoscaler_is_told_all_the_same(start_servers, port, committed_tenant):
    with start_servers(port, REDIS_URL="redis://127.0.0.1:1/0") as servers:
        servers.service.wait_for("metrics at")
        servers.ask(committed_tenant, 5)
        until(lambda: listings(port) == 5, "requests are counted")
        Api(servers.base, committed_tenant).submit("http://example.com/")
        until(lambda: Scraped(port).value("job_queue_size", state="ready") == 1, "so are jobs")
        until(
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


def test_a_server_whose_port_is_taken_serves_and_takes_it_when_it_is_free(start_servers, port):
    with closing(socket.create_server((HOST, port))) as taken, start_servers(port) as servers:
        servers.service.wait_for(f"no metrics yet: port {port} is taken")
        assert requests.get(f"{servers.base}/health/live", timeout=10).status_code == 200
        taken.close()
        servers.service.wait_for("metrics at")
        until(lambda: Scraped(port).value("service_processes", role="web") == 2, "both tell")
