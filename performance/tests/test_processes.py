"""Every process that speaks is on the page, with what is wrong with watching it."""

from collections import Counter
from datetime import UTC, datetime
from time import time

import pytest

from cachelayer.conf import CacheSettings
from cachelayer.layer import Layer, cache_layer
from performance import observing
from performance.cards.processes import RECENT, ProcessesCard
from performance.cards.shapes import Level
from performance.models import Deploy
from performance.recording.buffer import Buffer
from performance.recording.observer import Observer
from performance.recording.process import buffer, governor
from performance.recording.stream import Stream
from performance.revision import revision
from performance.storage.reading import Scope
from performance.tests.telling import forget, tell

pytestmark = pytest.mark.django_db

PROCESS = {
    "role": "web", "pid": 1, "started": 0.0, "python": "3", "cost": 0.01, "rate": 1.0,
    "dropped": 0, "failures": {},
}  # fmt: skip


def failed(times, *, first, last):
    """What a process says of a recorder that failed first and last so many seconds ago."""
    return {"failures": {"lag": times}, "failed_at": {"lag": [time() - first, time() - last]}}


def dropped(times, *, last):
    """What a process says whose latest message was dropped so many seconds ago."""
    return {"dropped": times, "dropped_at": time() - last}


@pytest.fixture(autouse=True)
def _nothing_recorded():
    forget()


def test_the_card_says_what_to_do_when_nobody_speaks():
    assert "PERFORMANCE_ENABLED" in ProcessesCard().content(Scope()).empty


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"dropped": 3, "dropped_at": time()}, "3 messages"),
        ({"cost": 0.2}, "costs 20 %"),
    ],
)
def test_watching_that_goes_wrong_is_said_first(state, says):
    buffer.publish("process", PROCESS | state)
    buffer.publish("memory", {"cpu": 99.0})
    tell("web/1")
    health = ProcessesCard().content(Scope()).health
    assert health
    assert health.level == Level.YELLOW
    assert says in health.reason


def test_a_recorder_that_fails_is_said_before_all_else_with_since_when():
    buffer.publish("process", PROCESS | dropped(3, last=0) | failed(2, first=3600, last=300))
    tell("web/1")
    health = ProcessesCard().content(Scope()).health
    assert health
    assert health.level == Level.YELLOW
    assert "the recorder lag failed 2 times since 20" in health.reason
    assert "last 5 min ago" in health.reason


def test_a_recorder_that_failed_long_ago_is_shown_and_alarms_nobody():
    buffer.publish("process", PROCESS | failed(2, first=3600, last=RECENT + 1))
    tell("web/1")
    content = ProcessesCard().content(Scope())
    assert content.health
    assert content.health.level == Level.GREEN
    (row,) = content.tables[0].rows
    assert (row.level, row.cells["failures"]) == (Level.GREEN, "lag 2")


def test_messages_that_were_dropped_long_ago_hide_nothing():
    buffer.publish("process", PROCESS | dropped(3, last=RECENT + 1))
    buffer.publish("memory", {"cpu": 99.0})
    tell("web/1")
    content = ProcessesCard().content(Scope())
    assert content.health
    assert "99 %" in content.health.reason
    assert content.tables[0].rows[0].cells["dropped"] == 3


def test_a_process_tells_when_it_dropped_a_message_last():
    def refuse():
        raise ConnectionError

    remote = Layer(CacheSettings(), client=refuse, async_client=refuse).remote
    observer = Observer("web/1", Buffer(), Stream(remote, "telling"), [], governor)
    began = time()
    observer.tell()
    sampler = observing.ProcessSampler(observer, "web", 9101)
    sampler.sample()
    told = buffer.take("").values["process"]
    assert told["dropped"] == 1
    assert began <= told["dropped_at"] <= time()


def test_of_several_processes_the_first_and_the_last_failure_are_told():
    for number, ago in enumerate((500, 300)):
        buffer.publish("process", PROCESS | failed(1, first=ago, last=ago))
        tell(f"web/{number}")
    health = ProcessesCard().content(Scope()).health
    assert health
    since = datetime.fromtimestamp(time() - 500, UTC)
    assert f"lag failed 2 times since {since:%Y-%m-%d}" in health.reason
    assert "last 5 min ago" in health.reason


def test_a_process_tells_when_its_recorders_failed_first_and_last(monkeypatch):
    failures = Counter[str]()
    monkeypatch.setattr(observing, "failures", failures)
    stream = Stream(cache_layer().remote, "telling")
    sampler = observing.ProcessSampler(Observer("web/1", buffer, stream, [], governor), "web", 9101)

    def told():
        sampler.sample()
        return buffer.take("").values["process"]

    assert told()["failed_at"] == {}
    failures["lag"] += 1
    first, last = told()["failed_at"]["lag"]
    assert first == last
    # Time passes, and it fails no more.
    assert told()["failed_at"] == {"lag": (first, last)}
    failures["lag"] += 1
    again = told()["failed_at"]["lag"]
    assert again[0] == first < again[1]


def test_a_revision_is_a_deploy_whenever_it_comes_back():
    for one in ("1234567", "1234567", "89abcde", "89abcde", "1234567"):
        observing.mark_deploy(one)
    marked = Deploy.objects.order_by("seen_at").values_list("revision", flat=True)
    assert list(marked) == ["1234567", "89abcde", "1234567"]


def test_the_revision_is_the_projects_wherever_a_process_was_started(monkeypatch, tmp_path):
    here = revision.__wrapped__()
    monkeypatch.chdir(tmp_path)
    assert revision.__wrapped__() == here


def test_a_process_that_uses_all_of_a_core_needs_company():
    buffer.publish("process", PROCESS)
    buffer.publish("memory", {"cpu": 99.0})
    tell("web/1")
    health = ProcessesCard().content(Scope()).health
    assert health
    assert "web/1 uses 99 %" in health.reason


def test_what_a_process_says_of_itself_is_one_row():
    buffer.publish("process", PROCESS | {"metrics_port": 9101} | failed(2, first=60, last=60))
    buffer.publish("lag", {"p50": 1.0, "p99": 3.0, "max": 5.0, "requests": 4})
    buffer.publish("memory", {"cpu": 12.5, "threads": 3, "files": 9})
    tell("web/1")
    content = ProcessesCard().content(Scope())
    assert content.health
    assert content.health.level == Level.YELLOW
    row = content.tables[0].rows[0].cells
    assert (row["cpu"], row["p99"], row["running"], row["files"]) == (12.5, 3.0, 4, 9)
    assert (row["failures"], row["metrics_port"]) == ("lag 2", "9101")
    assert ProcessesCard().content(Scope(instance="web/2")).empty


@pytest.mark.parametrize("page", ["memory", "processes"])
def test_the_pages_show_a_process(admin_client, page):
    buffer.publish("process", PROCESS)
    buffer.publish("memory", {"rss": 5 * 1024 * 1024, "counts": [1, 2, 3], "limit": None})
    buffer.record("lag", "web", 1.5)
    tell("web/1")
    answer = admin_client.get(f"/admin/performance/{page}/")
    assert answer.status_code == 200
    assert b"web/1" in answer.content
    assert b"This card failed" not in answer.content
