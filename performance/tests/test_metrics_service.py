"""Metrics as Prometheus gets them: of two web processes as one, and of a worker."""

import signal
from collections import Counter
from functools import partial

import psutil
import pytest

from cachelayer.tests.servers import until
from performance.metrics.catalogue import BY_ROLE, MOST_SERIES
from performance.storage.reading import values
from performance.tests.metered import LISTING, Scraped, listings, metrics_port, telling, until_told
from tests.support import Api, make_tenant

pytestmark = pytest.mark.xdist_group("watched service")


@pytest.fixture(scope="module")
def port():
    return metrics_port()


@pytest.fixture(scope="module")
def servers(lasting_database, database_url, port):
    """One web server for all of them: what was counted before stays."""
    with telling(database_url, port) as servers:
        yield servers


@pytest.fixture
def committed_tenant(lasting_database):
    """A tenant that the servers see."""
    return make_tenant()


def are_others(servers, before):
    return servers.processes and not set(before) & set(servers.processes)


def test_the_requests_of_two_processes_add_up(servers, port, committed_tenant):
    before = listings(port)
    servers.ask(committed_tenant, 40)
    until_told(lambda: listings(port) == before + 40, "all are counted")
    until_told(
        lambda: Scraped(port).value("db_connections_created_total", pool="default") >= 2,
        "both have opened their pools",
    )
    told = Scraped(port)
    route = {key: LISTING[key] for key in ("method", "route")}
    assert told.value("http_request_duration_seconds_count", **route) == before + 40
    assert told.value("http_requests_per_second") > 0
    assert told.value("memory_usage_bytes") > told.value("memory_usage_largest_process_bytes") > 0
    hits = told.families["cache_hits"].samples
    assert sum(one.value for one in hits if one.labels["namespace"] == "api-key") > 0


def test_what_a_killed_process_has_counted_stays_and_its_state_goes(
    servers, port, committed_tenant
):
    before = listings(port)
    servers.ask(committed_tenant, 30)
    until_told(lambda: listings(port) == before + 30, "all are counted")
    psutil.Process(servers.processes[0]).send_signal(signal.SIGKILL)
    seen = set()

    def live_processes():
        told = Scraped(port)
        seen.add(told.value("http_requests_total", **LISTING))
        return told.value("service_processes", role="web")

    until(lambda: live_processes() == 1, "its state has gone")
    until_told(lambda: live_processes() == 2, "another has taken its place")
    assert seen == {before + 30}


def test_what_a_process_has_seen_last_is_told_as_it_ends(servers, port, committed_tenant):
    told = listings(port)
    for number in range(1, 4):
        servers.ask(committed_tenant, 10)
        before = servers.processes
        servers.service.process.send_signal(signal.SIGHUP)
        until(partial(are_others, servers, before), "both are replaced")
        assert listings(port) == told + 10 * number


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

    told = until_told(are_told, "both are counted")
    assert told.value("job_attempts_total", outcome="succeeded") == 1
    assert told.value("job_errors_total", code="http_4xx") == 1
    assert told.value("job_queued_seconds_count") == 2
    assert told.value("fetch_duration_seconds_count") == 2
    assert told.value("worker_concurrency") == 20
    unapplied = "django_migrations_unapplied_total"
    until_told(
        lambda: Scraped(metrics).value(unapplied, connection="default") == 0,
        "migrations are counted",
    )
    until(
        lambda: metrics in [one.get("metrics_port") for one in values("process").values()],
        "the console knows where its metrics are",
    )
    assert worker.stop() == 0
