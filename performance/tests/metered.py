"""Web servers of two processes that tell Prometheus about them, and what they tell."""

import socket
from contextlib import closing, contextmanager
from typing import NamedTuple

import psutil
import requests
from prometheus_client.parser import text_string_to_metric_families

from cachelayer.tests.ports import HOST, free_ports
from cachelayer.tests.servers import until
from tests.support import Api, Service

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


def listings(port):
    """The answers with lists of jobs so far."""
    return Scraped(port).value("http_requests_total", **LISTING) or 0


def until_told(condition, what):
    """`until` of what processes tell once a second, and answering takes them a while."""
    return until(condition, what, every=0.2)


def metrics_port():
    """One after which there is room for workers."""

    def found():
        for candidate in free_ports(20):
            with closing(socket.socket()) as probe:
                if candidate < 65_000 and probe.connect_ex((HOST, candidate + 1)):
                    return candidate
        return None

    return until(found, "two free ports in a row")


@contextmanager
def started(database_url, port, **environment):
    """Servers that may not tell yet."""
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


@contextmanager
def telling(database_url, port):
    """Servers of which both processes tell."""
    with started(database_url, port) as servers:
        servers.service.wait_for("metrics at")
        until_told(lambda: Scraped(port).value("service_processes", role="web") == 2, "both tell")
        yield servers
