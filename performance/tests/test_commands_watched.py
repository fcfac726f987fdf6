"""What commands of `manage.py` ask PostgreSQL for is looked at as what requests ask for is."""

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import get_commands, load_command_class

from performance.entry import Name
from performance.models import Subject
from performance.observing import stream
from performance.recorders.commands import watched
from performance.recording.process import buffer
from performance.recording.stream import START
from performance.recording.watch import current
from performance.recording.wire import unpacked
from performance.storage.digest import Digest
from performance.tests.conftest import WATCHED
from scraper_site.commands import is_watched
from scraper_site.env import environment
from tests.support import make_tenant

MANY = 20
ASKED = Name("request.looked_at", "command lists")


@pytest.fixture
def told():
    """What commands in this process have told."""
    buffer.take("")
    stream().clear()
    yield lambda: [unpacked(data) for _, data in stream().read(START, 10)]
    stream().clear()


@pytest.fixture
def as_command(monkeypatch):
    """This process is one that `manage.py` has started."""
    monkeypatch.setenv("PROCESS_ROLE", "command")
    monkeypatch.setenv("PERFORMANCE_ENABLED", "true")
    environment.cache_clear()
    yield monkeypatch.setenv
    environment.cache_clear()


def manage(database_url, *arguments):
    """Run a command as operators do."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env=os.environ | WATCHED | {"DATABASE_URL": database_url, "PROCESS_ROLE": "command"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.mark.xdist_group("watched service")
@pytest.mark.django_db(transaction=True)
def test_a_command_that_asks_for_each_row_is_found(database_url):
    for _ in range(MANY):
        make_tenant()
    manage(database_url, "warmcache")
    Digest(stream()).run()
    found = Subject.objects.get(type="n_plus_one", document__view="command warmcache")
    assert found.document["queries"] == MANY
    assert found.document["file"].startswith("jobs/")


@pytest.mark.django_db
def test_what_a_command_asks_for_is_told_at_its_end(told):
    with watched("lists"):
        User.objects.exists()
        assert told() == []
    (message,) = told()
    assert message.tallies[ASKED].count == 1
    assert message.tallies[Name("query.all", "SELECT")].count == 1


@pytest.mark.django_db
def test_a_command_that_fails_is_watched_to_its_end(told):
    with pytest.raises(ZeroDivisionError), watched("lists"):
        assert 1 / User.objects.count()
    assert ASKED in told()[0].tallies
    assert current.get() is None


def test_a_command_that_asks_for_nothing_tells_nothing(told):
    with watched("lists"):
        pass
    assert told() == []


WATCHED_COMMANDS = ["bottlenecks", "cache", "configuration", "duties", "warmcache"]


@pytest.mark.usefixtures("as_command")
def test_of_all_commands_our_own_are_watched_but_for_servers_and_benchmarks():
    found = [
        name
        for name, app in get_commands().items()
        if is_watched(name, load_command_class(app, name))
    ]
    assert sorted(found) == WATCHED_COMMANDS


@pytest.mark.parametrize(
    ("name", "value"), [("PERFORMANCE_ENABLED", "false"), ("PROCESS_ROLE", "worker")]
)
def test_where_nothing_is_to_be_watched_no_command_is(as_command, name, value):
    as_command(name, value)
    environment.cache_clear()
    assert not is_watched("duties", load_command_class("jobs", "duties"))
