"""Two web servers and a worker: what one process changes, the others show.

How fast, `manage.py benchmark cache` measures.
"""

from uuid import uuid4

import pytest
from django.conf import settings

from cachelayer.tests.servers import ValkeyProcess, until
from jobs.models import Job
from tests.support import Api, make_tenant

pytestmark = [pytest.mark.xdist_group("lost engines"), pytest.mark.django_db(transaction=True)]

# The service's settings with one difference: a changing status is remembered for five minutes
# instead of a second, so that a server that shows a change has been told of it.
LONG_MEMORY = """
from dataclasses import replace

from django.apps import AppConfig
from scraper_site.settings import *


class LongMemory(AppConfig):
    name = "long_memory"

    def ready(self):
        from jobs import caching

        caching.CHANGING = replace(caching.CHANGING, ttl=3600, local_ttl=300)


INSTALLED_APPS = [*INSTALLED_APPS, "long_memory.LongMemory"]
"""


@pytest.fixture
def valkey():
    with ValkeyProcess() as server:
        yield server


@pytest.fixture
def start_worker_here(start_worker, valkey):
    """Starts a worker on that Valkey; it ends with the test."""
    started = []
    yield lambda: started.append(start_worker(REDIS_URL=valkey.url))
    for worker in started:
        worker.stop()


@pytest.fixture
def servers(start_web, valkey):
    """Two web servers on that Valkey, as operators run them."""
    with start_web(REDIS_URL=valkey.url) as one, start_web(REDIS_URL=valkey.url) as two:
        yield one, two


@pytest.fixture
def servers_that_remember(start_web, valkey, tmp_path):
    """Two web servers on that Valkey that forget a status only when they are told to."""
    (tmp_path / "long_memory.py").write_text(LONG_MEMORY)
    environment = {
        "REDIS_URL": valkey.url,
        "PYTHONPATH": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "long_memory",
    }
    with start_web(**environment) as one, start_web(**environment) as two:
        yield one, two


def as_tenant(servers, tenant):
    return [Api(base, tenant) for base in servers]


def answers(apis, job_id):
    return [api.get(f"/api/v1/jobs/{job_id}") for api in apis]


def statuses(apis, job_id):
    found = answers(apis, job_id)
    assert {answer.status_code for answer in found} == {200}
    return {answer.json()["status"] for answer in found}


def answers_from_memory(api, job_id):
    """Whether a change that nobody announces goes unseen."""
    (before,) = answers([api], job_id)
    Job.objects.filter(id=job_id).update(metadata={"unannounced": uuid4().hex})
    (after,) = answers([api], job_id)
    return after.content == before.content


def have_all_cached(apis, job_id):
    return all(answers_from_memory(api, job_id) for api in apis)


def all_listen(valkey, number):
    channel = f"{settings.CACHELAYER['prefix']}:invalidate"
    return valkey.ask("PUBSUB", "NUMSUB", channel) == [channel, number]


def test_every_server_is_told_that_a_job_has_ended(
    servers_that_remember, valkey, start_worker_here, site_url
):
    apis = as_tenant(servers_that_remember, make_tenant())
    job_id = apis[0].submit(site_url)
    assert statuses(apis, job_id) == {"queued"}
    # Whoever has only just subscribed empties its memory, which would pass for having been told.
    until(lambda: all_listen(valkey, len(apis)), "both servers listen")
    until(lambda: have_all_cached(apis, job_id), "both servers answer from memory")
    start_worker_here()
    until(lambda: statuses(apis, job_id) == {"succeeded"}, "both servers show the end", 60)


def test_without_valkey_every_server_shows_the_end_of_a_job_that_it_had_cached(
    servers, valkey, start_worker_here, site_url
):
    apis = as_tenant(servers, make_tenant())
    job_id = apis[0].submit(site_url)
    until(lambda: have_all_cached(apis, job_id), "both servers answer from memory")
    valkey.kill()
    until(lambda: have_all_cached(apis, job_id), "they still do")
    start_worker_here()
    until(lambda: statuses(apis, job_id) == {"succeeded"}, "both servers show the end", 60)


def test_every_server_gives_a_cached_status_to_its_owner_and_to_nobody_else(
    servers, start_worker_here, site_url
):
    owner, stranger = as_tenant(servers, make_tenant()), as_tenant(servers, make_tenant())
    job_id = owner[0].submit(site_url)
    until(lambda: have_all_cached(owner, job_id), "both servers answer from memory")
    assert [answer.status_code for answer in answers(stranger, job_id)] == [404, 404]
    start_worker_here()
    until(lambda: statuses(owner, job_id) == {"succeeded"}, "both servers show the end", 60)
    one, two = answers(owner, job_id)
    assert (one.content, one.headers["ETag"]) == (two.content, two.headers["ETag"])
    assert [answer.status_code for answer in answers(stranger, job_id)] == [404, 404]
