"""What Prometheus is told is what was recorded, under names that stay, with labels that are few."""

import re
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict

from cachelayer.tests.ports import HOST, free_ports
from performance.entry import Name, Tally
from performance.metrics import catalogue
from performance.metrics.catalogue import BY_ROLE, MOST_SERIES
from performance.metrics.directory import LOCK, make_directory, remove_abandoned
from performance.metrics.files import bury
from performance.metrics.instruments import Instruments
from performance.metrics.queue import QueueSampler
from performance.metrics.serving import serve
from performance.metrics.states import States
from performance.metrics.tallies import RATE_OVER, RequestRate, Translator
from performance.recorders.pools import State
from performance.recording.buffer import Buffer
from tests.support import ROOT

METRICS = {one.name: one for metrics in BY_ROLE.values() for one in metrics}
# What would have as many values as there are users, pages or attackers.
UNBOUNDED = {"url", "path", "host", "client", "tenant", "user", "job", "pid", "instance", "query"}
PROMISED = {
    "db_connections_created_total": "counter",
    "db_connection_pool_size": "gauge",
    "redis_connection_pool_size": "gauge",
    "memory_usage_bytes": "gauge",
    "job_queue_size": "gauge",
    "http_requests_per_second": "gauge",
    "http_requests_total": "counter",
    "http_request_duration_seconds": "histogram",
    "bottlenecks_detected_total": "counter",
    "job_queue_oldest_seconds": "gauge",
    "job_queued_seconds": "histogram",
    "job_run_seconds": "histogram",
    "job_errors_total": "counter",
    "db_connection_wait_seconds": "histogram",
    "db_connections_leaked_total": "counter",
    "worker_jobs_running": "gauge",
    "fetch_duration_seconds": "histogram",
    "observer_cost_ratio": "gauge",
}


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def web(registry):
    return Instruments("web", registry)


@pytest.fixture
def worker(registry):
    return Instruments("worker", registry)


@pytest.fixture
def buffer():
    return Buffer()


@pytest.fixture
def value(registry):
    def value(name, **labels):
        return registry.get_sample_value(name, labels)

    return value


def translate(instruments, buffer):
    Translator(instruments).take(buffer.take("me").tallies)


def test_what_was_promised_is_there_with_its_type():
    assert {name: METRICS[name].kind for name in PROMISED} == PROMISED


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_is_named_as_prometheus_wants_it(metric):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", metric.name)
    assert metric.about.endswith(".")
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert not {"ms", "milliseconds", "kb", "mb"} & set(metric.name.split("_"))
    assert not UNBOUNDED & set(metric.labels)


def test_the_documentation_has_every_metric_and_no_other():
    text = (ROOT / "docs/operations/metrics.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", text, re.MULTILINE)
    documented = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in listed
    }
    ours = {one.name: (one.kind, one.labels) for one in METRICS.values()}
    others = {name for name in documented if name.startswith("cache_")}
    assert {name: known for name, known in documented.items() if name not in others} == ours


def test_requests_are_counted_by_route_and_class_of_status(web, buffer, value):
    for _ in range(5):
        buffer.record("request", "GET /jobs/<id>", 3.0)
    buffer.count("request.4xx", "GET /jobs/<id>", 2)
    translate(web, buffer)
    labels = {"method": "GET", "route": "/jobs/<id>"}
    assert value("http_requests_total", **labels, status="2xx") == 3
    assert value("http_requests_total", **labels, status="4xx") == 2
    assert value("http_request_duration_seconds_count", **labels) == 5
    assert value("http_request_duration_seconds_sum", **labels) == pytest.approx(0.015)


@pytest.mark.parametrize(
    ("milliseconds", "bound"),
    [(0.0, "0.001"), (0.99, "0.001"), (1.01, "0.002"), (1000, "1.024"), (16_000, "16.384")],
)
def test_a_duration_is_in_the_bucket_that_it_belongs_to(web, buffer, value, milliseconds, bound):
    buffer.record("query.all", "SELECT", milliseconds)
    translate(web, buffer)
    bounds = [str(one) for one in catalogue.FINE]
    first = next(one for one in bounds if value("db_query_duration_seconds_bucket", le=one) == 1)
    assert first == bound


def test_what_stands_for_several_counts_as_several(web, buffer, value):
    buffer.record("query.all", "SELECT", 5.0, weight=4)
    translate(web, buffer)
    assert value("db_query_duration_seconds_count") == 4


def test_a_key_that_says_too_much_is_no_label(worker, buffer, value):
    buffer.record("fetch", "secret.example", 80.0)
    buffer.record("error", "KeyError in jobs/views.py:detail", 1.0)
    translate(worker, buffer)
    assert value("fetch_duration_seconds_count") == 1
    assert value("errors_total") == 1


def test_attempts_are_told_by_outcome_and_code(worker, buffer, value):
    buffer.record("attempt.wait", "workers", 1500.0)
    buffer.record("attempt.run", "failed", 200.0)
    buffer.count("attempt.error", "timeout")
    buffer.count("attempt.unfinished", "released")
    translate(worker, buffer)
    assert value("job_queued_seconds_sum") == 1.5
    assert value("job_run_seconds_count", outcome="failed") == 1
    assert value("job_attempts_total", outcome="failed") == 1
    assert value("job_attempts_total", outcome="released") == 1
    assert value("job_errors_total", code="timeout") == 1


def test_what_is_not_the_roles_own_is_passed_over(worker, buffer, registry):
    buffer.record("lag", "worker", 3.0)
    translate(worker, buffer)
    names = {metric.name for metric in registry.collect()}
    assert "event_loop_lag_seconds" in names
    assert not {"http_requests_per_second", "job_queue_size"} & names


def test_leaks_bottlenecks_and_waits_for_a_connection_are_told(web, buffer, value):
    buffer.count("pool.leaked", "web PostgreSQL default")
    buffer.count("pool.leaked", "web Valkey redis://10.0.0.1:6379", 2)
    buffer.count("bottleneck", "pool")
    buffer.record("pool.wait", "web PostgreSQL default", 12.0)
    buffer.count("pool.wait", "web Valkey redis://10.0.0.1:6379", 3, 40.0)
    translate(web, buffer)
    assert value("db_connections_leaked_total") == 1
    assert value("redis_connections_leaked_total") == 2
    assert value("bottlenecks_detected_total", kind="pool") == 1
    assert value("db_connection_wait_seconds_sum", pool="default") == pytest.approx(0.012)


def test_labels_that_are_too_many_count_together(web, registry):
    for number in range(MOST_SERIES + 5):
        web.add("bottlenecks_detected_total", 1, f"kind {number}")
    found = [
        sample
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "bottlenecks_detected_total"
    ]
    assert len(found) == MOST_SERIES + 1
    assert found[-1].labels == {"kind": catalogue.OTHER}
    assert found[-1].value == 5


def test_a_counter_follows_a_number_that_begins_anew(web, value):
    for number in (5, 7, 7, 2):
        web.reach("errors_total", number)
    assert value("errors_total") == 9


def test_the_rate_is_that_of_the_last_ten_seconds():
    now = 1000.0
    rate = RequestRate(lambda: now)
    for _ in range(20):
        now += 1
        latest = rate.take(30)
    assert latest == pytest.approx(30)
    now += RATE_OVER
    assert rate.take(0) == pytest.approx(0)


def test_a_process_that_has_just_begun_does_not_tell_of_a_burst():
    now = 1000.0
    rate = RequestRate(lambda: now)
    now += 0.01
    assert rate.take(10) == 10


POOL = {"name": "PostgreSQL default", "size": 4, "used": 3, "max": 50, "waiting": 1, "refused": 2}
VALKEY = {"size": 5, "used": 2, "max": 50, "queued": 4, "queued_ms": 1500, "refused": 1, "lost": 0}


def test_pools_are_told_as_they_are(web, value):
    pools = [
        POOL | {"opened": 9, "opening_failed": 2},
        VALKEY | {"name": "Valkey redis://10.0.0.1:6379"},
        VALKEY | {"name": "Valkey redis://10.0.0.2:6379"},
    ]
    held = [
        {"state": "leaked", "pool": "web PostgreSQL default"},
        {"state": "held by a slow request", "pool": "web PostgreSQL default"},
        {"state": "leaked", "pool": "web Valkey redis://10.0.0.1:6379"},
    ]
    States(web).take({"pools": {"pools": pools, "held": held}})
    assert value("db_connection_pool_size", pool="default") == 4
    assert value("db_connections_in_use", pool="default") == 3
    assert value("db_connections_created_total", pool="default") == 7
    assert value("db_connection_timeouts_total", pool="default") == 2
    assert value("db_connections_lost") == 1
    assert value("redis_connections_lost") == 1
    assert value("redis_connection_pool_size") == 10
    assert value("redis_connection_wait_seconds_total") == 3


def test_a_connection_that_could_not_be_made_is_no_created_one(web, value):
    states = States(web)
    # An attempt is counted when it begins, that it failed when it ends.
    for opened, failed, created in ((6, 0, 6), (7, 0, 7), (7, 1, 7), (8, 1, 7), (9, 1, 8)):
        pool = POOL | {"opened": opened, "opening_failed": failed}
        states.take({"pools": {"pools": [pool], "held": []}})
        assert value("db_connections_created_total", pool="default") == created


def test_connections_of_a_pool_that_was_made_anew_are_counted_on(web, value):
    states = States(web)
    for opened in (6, 2, 3):
        pool = POOL | {"opened": opened, "opening_failed": 0}
        states.take({"pools": {"pools": [pool], "held": []}})
    assert value("db_connections_created_total", pool="default") == 9


def test_a_node_that_leaves_the_cluster_counts_nothing_twice(web, value):
    states = States(web)
    first, second = (VALKEY | {"name": f"Valkey redis://10.0.0.{number}:1"} for number in (1, 2))
    before = None
    for pools in ([first, second], [first], [first, second]):
        states.take({"pools": {"pools": pools, "held": []}})
        waited = value("redis_connection_wait_seconds_total")
        assert before in (None, waited)
        before = waited
    assert before


def test_of_the_engines_pools_what_they_have_opened_is_counted(worker, value):
    states = States(worker)
    for opened in (1, 3, 5):
        pool = State("PostgreSQL asyncpg", used=0, size=1, max=5, opened=opened)
        states.take({"pools": {"pools": [asdict(pool)], "held": []}})
    assert value("db_connections_created_total", pool="asyncpg") == 5


@pytest.mark.django_db
def test_the_queue_is_told_by_state(web, value):
    QueueSampler(web).sample()
    states = ("running", "ready", "held")
    assert [value("job_queue_size", state=state) for state in states] == [0, 0, 0]
    assert value("job_queue_read_timestamp_seconds") > 0


def counted(path):
    return {key: number for key, number, _, _ in MmapedDict.read_all_values_from_file(str(path))}


def leave(path, **numbers):
    file = MmapedDict(str(path))
    for key, number in numbers.items():
        file.write_value(key, number, 0.0)
    file.close()


def test_what_dead_processes_have_counted_is_kept_in_one_file(tmp_path):
    for pid, number in ((11, 1.0), (12, 2.0)):
        leave(tmp_path / f"counter_{pid}.db", first=number)
        leave(tmp_path / f"gauge_livesum_{pid}.db", state=number)
    leave(tmp_path / "counter_12.db", second=4.0)
    bury(tmp_path, 11)
    bury(tmp_path, 12)
    assert [path.name for path in tmp_path.iterdir()] == ["counter_ended.db"]
    found = counted(tmp_path / "counter_ended.db")
    assert {key.strip(): number for key, number in found.items()} == {"first": 3, "second": 4}


def test_a_directory_of_a_server_that_was_killed_is_removed(tmp_path):
    code = (
        "import sys, pathlib; from performance.metrics.directory import make_directory;"
        "print(make_directory(pathlib.Path(sys.argv[1])))"
    )
    abandoned = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert abandoned in map(str, tmp_path.iterdir())
    ours = make_directory(tmp_path)
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == [ours]
    assert [path.name for path in ours.iterdir()] == [LOCK]


def test_the_master_imports_neither_django_nor_psycopg():
    """psycopg chooses its way to wait as it is imported, and Django's pools survive no fork."""
    code = (
        "import os, sys, tempfile; os.environ['PROMETHEUS_MULTIPROC_DIR'] = tempfile.gettempdir();"
        "import performance.metrics.master;"
        "print({'django', 'psycopg', 'redis'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"


@pytest.fixture
def server(registry):
    server = serve(registry, HOST, free_ports(1))
    assert server is not None
    yield server
    server.shutdown()
    server.server_close()


def test_the_first_port_that_is_free_is_taken(registry, server):
    (free,) = free_ports(1)
    other = serve(registry, HOST, [server.server_port, free])
    assert other is not None
    assert other.server_port == free
    other.shutdown()
    other.server_close()
    assert serve(registry, HOST, [server.server_port]) is None


def test_metrics_are_at_one_path_only(server):
    base = f"http://{HOST}:{server.server_port}"
    with urlopen(f"{base}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{base}/admin", timeout=5)
    assert refused.value.code == 404
    refused.value.close()


def test_who_connects_and_says_nothing_holds_nobody_up(server):
    address = (HOST, server.server_port)
    with (
        closing(socket.create_connection(address)),
        urlopen(f"http://{HOST}:{server.server_port}/metrics", timeout=5) as answer,
    ):
        assert answer.status == 200


def test_a_tally_of_nothing_harms_nothing(web):
    Translator(web).take({Name("request", "(other)"): Tally(count=1.0)})
