"""Every process that speaks is on the page, with what is wrong with watching it."""

import pytest

from performance.cards.processes import ProcessesCard
from performance.cards.shapes import Level
from performance.recording.process import buffer
from performance.storage.reading import Scope
from performance.tests.telling import forget, tell

pytestmark = pytest.mark.django_db

PROCESS = {
    "role": "web", "pid": 1, "started": 0.0, "python": "3", "cost": 0.01, "rate": 1.0,
    "dropped": 0, "failures": {},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_recorded():
    forget()


def test_the_card_says_what_to_do_when_nobody_speaks():
    assert "PERFORMANCE_ENABLED" in ProcessesCard().content(Scope()).empty


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"failures": {"lag": 2}}, "lag failed 2 times"),
        ({"dropped": 3}, "3 messages"),
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


def test_a_process_that_uses_all_of_a_core_needs_company():
    buffer.publish("process", PROCESS)
    buffer.publish("memory", {"cpu": 99.0})
    tell("web/1")
    health = ProcessesCard().content(Scope()).health
    assert health
    assert "web/1 uses 99 %" in health.reason


def test_what_a_process_says_of_itself_is_one_row():
    buffer.publish("process", PROCESS | {"failures": {"lag": 2}})
    buffer.publish("lag", {"p50": 1.0, "p99": 3.0, "max": 5.0, "requests": 4})
    buffer.publish("memory", {"cpu": 12.5, "threads": 3, "files": 9})
    tell("web/1")
    content = ProcessesCard().content(Scope())
    assert content.health
    assert content.health.level == Level.YELLOW
    row = content.tables[0].rows[0].cells
    assert (row["cpu"], row["p99"], row["running"], row["files"]) == (12.5, 3.0, 4, 9)
    assert row["failures"] == "lag 2"
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
