"""A real web process whose pool is too small is found to be limited by it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cachelayer.tests.servers import until
from performance.analysis.bottlenecks.analyser import analyse
from performance.observing import stream
from performance.storage.digest import Digest
from performance.storage.reading import values
from tests.support import Api

pytestmark = [pytest.mark.xdist_group("watched service"), pytest.mark.django_db(transaction=True)]

CALLERS = 8


def submit(api):
    """Each of them needs the connection until it is committed; who waits for too long gets none."""
    for _ in range(20):
        response = api.post("/api/v1/jobs", {"url": "http://x.example/"})
        assert response.status_code in (202, 503)


def test_a_pool_of_one_connection_under_concurrent_requests_is_a_bottleneck(
    start_web, committed_tenant
):
    digest = Digest(stream())
    pool = {"DB_POOL_SIZE": "1", "DB_MAX_OVERFLOW": "0"}
    with start_web(**pool) as base, ThreadPoolExecutor(CALLERS) as callers:

        def told():
            digest.run()
            return values("pools") and values("process")

        def pool_found():
            digest.run()
            # What it submitted waits for workers that there are none of, which is found as well.
            return next((one for one in analyse().found if one.name == "db_pool"), None)

        until(told, "the process tells of its pool")
        list(callers.map(submit, [Api(base, committed_tenant)] * CALLERS))
        found = until(pool_found, "the pool limits")
    assert found.level == "red"
    assert (found.change.setting, found.change.present) == ("DB_POOL_SIZE", 1)
    assert found.change.wanted > 1
