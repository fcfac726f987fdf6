"""What clients see while Valkey is killed, paused, flushed and started again: nothing."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from cachelayer.tests.servers import ValkeyProcess, until
from tests.support import Api, make_tenant

pytestmark = [pytest.mark.xdist_group("lost engines"), pytest.mark.django_db(transaction=True)]

READS_A_PHASE = 15


@pytest.fixture(scope="module")
def server():
    with ValkeyProcess() as server:
        yield server


@pytest.fixture(scope="module")
def web(start_web, server):
    """A web server on that Valkey."""
    with start_web(REDIS_URL=server.url) as base:
        yield base


@pytest.fixture
def valkey(web, server):
    """It is there again after the test, and used."""
    yield server
    server.restart()
    until(lambda: cache_of(web) == "ok", "Valkey is used again")


@pytest.fixture
def base(web, valkey):
    return web


def cache_of(base):
    ready = requests.get(f"{base}/health/ready", timeout=10)
    assert ready.status_code == 200
    return ready.json()["cache"]


def faults(valkey):
    """What happens to the server, one after the other."""
    return [
        lambda: valkey.ask("FLUSHALL"),
        valkey.pause,
        valkey.resume,
        valkey.kill,
        valkey.restart,
        lambda: valkey.ask("FLUSHALL"),
    ]


class Reader:
    """One tenant who reads its own things over and over, and checks each answer."""

    def __init__(self, base):
        self.api = Api(base, make_tenant())
        self.jobs = [self.api.submit(f"http://{n}.example/") for n in range(5)]
        self.wrong = []

    def read(self, times):
        for n in range(times):
            job_id = self.jobs[n % len(self.jobs)]
            self.check(self.api.get(f"/api/v1/jobs/{job_id}"), lambda d, i=job_id: d["id"] == i)
            self.check(self.api.get("/api/v1/jobs?limit=5"), self.owns)

    def owns(self, document):
        return {job["id"] for job in document["items"]} <= set(self.jobs)

    def check(self, response, is_right):
        if response.status_code != 200 or not is_right(response.json()):
            self.wrong.append((response.status_code, response.text[:200]))


def test_no_error_and_no_other_owners_data_whatever_happens_to_valkey(base, valkey):
    readers = [Reader(base) for _ in range(4)]
    with ThreadPoolExecutor(max_workers=4) as threads:
        for fault in faults(valkey):
            running = [threads.submit(one.read, READS_A_PHASE) for one in readers]
            fault()
            for future in running:
                future.result()
    assert [one.wrong for one in readers] == [[]] * 4


def test_jobs_are_accepted_while_valkey_hangs(base, valkey):
    api = Api(base, make_tenant())
    valkey.pause()
    assert all(api.submit(f"http://{n}.example/") for n in range(10))
    valkey.resume()
    assert len(api.get("/api/v1/jobs").json()["items"]) == 10


def test_a_revoked_key_is_refused_within_the_life_of_level_1_though_valkey_is_gone(base, valkey):
    tenant = make_tenant()
    api = Api(base, tenant)
    assert api.get("/api/v1/jobs").status_code == 200
    valkey.kill()
    tenant.client.keys.get().delete()
    until(lambda: api.get("/api/v1/jobs").status_code == 401, "the key is refused")


def test_the_service_says_that_valkey_is_gone_and_stays_ready(base, valkey):
    valkey.kill()
    assert cache_of(base) == "unavailable"
