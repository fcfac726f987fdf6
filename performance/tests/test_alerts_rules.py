"""What each rule measures, what operators change of them, and that each has its runbook."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.utils import timezone

from performance.alerts.catalogue import chosen, mistakes
from performance.alerts.rule import RULES, Unknown, shown
from performance.analysis.checks import UNKNOWN
from performance.conf import performance_settings
from performance.console.alerts import sections
from performance.models import Aggregate, AlertRule, Cursor, Kind, Severity, Value
from performance.recording.process import buffer
from performance.storage.digest import STREAM
from performance.storage.periods import PERIODS
from performance.tests.telling import forget, tell

pytestmark = pytest.mark.django_db

QUEUE = {"at": 1.0, "ready": 7, "oldest": 90.0, "dead_letters": 3}
WORKER = {"has_stopped": False, "silence": 0.5}
POOL = {
    "name": "PostgreSQL default", "key": "web PostgreSQL default", "used": 19, "max": 20,
    "waiting": 0, "queued": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_recorded():
    forget()


@pytest.fixture
def configure(settings):
    def configure(**rules):
        settings.PERFORMANCE = settings.PERFORMANCE | {"alert_rules": rules}
        performance_settings.cache_clear()

    yield configure
    performance_settings.cache_clear()


def measure(name):
    return [(one.key, one.value, one.text) for one in RULES[name].measure(timezone.now())]


def publish(instance="web/1", **states):
    for type, document in states.items():
        buffer.publish(type, document)
    tell(instance)


def age(seconds, **which):
    """What was said was said so much earlier."""
    Value.objects.filter(**which).update(updated_at=timezone.now() - timedelta(seconds=seconds))


def test_the_age_of_the_queue_is_that_of_its_oldest_ready_job():
    publish(queue=QUEUE)
    assert measure("queue_age") == [
        ("", 90.0, "the oldest of 7 ready jobs has waited for 90 s"),
    ]
    assert measure("dead_letters")[0][1] == 3


@pytest.mark.parametrize("name", ["queue_age", "no_worker", "dead_letters"])
def test_a_queue_that_nobody_counts_is_unknown(name):
    with pytest.raises(Unknown):
        measure(name)


def test_nobody_works_when_jobs_are_ready_and_no_worker_speaks():
    publish(queue=QUEUE)
    assert measure("no_worker")[0][1] == 90.0
    publish("worker/1", worker=WORKER)
    assert measure("no_worker") == []
    publish("worker/1", worker=WORKER | {"has_stopped": True})
    assert measure("no_worker")[0][1] == 90.0
    publish(queue=QUEUE | {"at": 2.0, "ready": 0})
    assert measure("no_worker") == []


def test_a_worker_that_says_nothing_is_silent_until_it_is_forgotten():
    publish("worker/1", worker=WORKER)
    age(100, instance="worker/1")
    [(key, value, text)] = measure("worker_silence")
    assert (key, round(value)) == ("worker/1", 100)
    assert text == "nothing was heard of worker/1 for 100 s"
    age(3600, instance="worker/1")
    assert measure("worker_silence") == []


def test_a_worker_that_is_stuck_is_silent_and_one_that_stopped_is_not():
    publish("worker/1", worker=WORKER | {"silence": 70.0})
    publish("worker/2", worker=WORKER | {"silence": 70.0, "has_stopped": True})
    assert measure("worker_silence") == [
        ("worker/1", 70.0, "worker/1 has not looked for jobs for 70 s"),
    ]


def test_a_pool_is_as_full_as_its_connections_are_in_use():
    asyncpg = POOL | {"name": "PostgreSQL asyncpg", "waiting": None, "queued": None}
    publish(pools={"pools": [POOL, asyncpg, POOL | {"name": "empty", "max": 0}], "held": []})
    assert measure("pool_saturation") == [
        ("web/1 PostgreSQL default", 95.0,
         "19 of 20 connections of web PostgreSQL default are in use in web/1"),
    ]  # fmt: skip


def test_leaks_are_counted_by_process():
    held = [{"state": "leaked", "where": "jobs/views.py:7"}, {"state": "held", "where": "x"}]
    publish(pools={"pools": [], "held": held})
    publish("web/2", pools={"pools": [], "held": []})
    assert measure("leaked_connections") == [
        ("web/1", 1, "connections that leaked in web/1: 1, taken by jobs/views.py:7"),
    ]


def test_memory_is_judged_by_its_slope():
    publish(memory={"slope": 64 * 1024 * 1024})
    publish("web/2", memory={"slope": None})
    assert [one[:2] for one in measure("memory_slope")] == [
        ("web/1", 64 * 1024 * 1024),
        ("web/2", 0),
    ]


def memory(used, rss=1, limit=100, cgroup="."):
    return {"rss": rss, "used": used, "limit": limit, "cgroup": cgroup}


def test_a_container_near_its_limit_is_told_of_once_for_all_its_processes():
    publish("web/1", memory=memory(95, rss=30))
    publish("web/2", memory=memory(96, rss=60))
    publish("other/1", memory=memory(40))
    publish("bare/1", memory=memory(None, limit=None, cgroup=None))
    text = "container web uses 96 % of its memory, the most of it web/2"
    found = {key: (value, text) for key, value, text in measure("memory_limit")}
    assert found.keys() == {"web", "other"}
    assert found["web"] == (96.0, text)


def test_cgroups_of_one_host_have_limits_of_their_own():
    publish("host/1", memory=memory(95, cgroup="system.slice/web.service"))
    publish("host/2", memory=memory(20, cgroup="system.slice/worker.service"))
    assert {key: value for key, value, _ in measure("memory_limit")} == {
        "host/system.slice/web.service": 95.0,
        "host/system.slice/worker.service": 20.0,
    }


def test_a_hub_is_blocked_when_one_in_a_hundred_runs_late():
    for _ in range(90):
        buffer.record("lag", "web", 1.0)
    for _ in range(10):
        buffer.record("lag", "web", 400.0)
    tell("web/1")
    [(key, value, text)] = measure("hub_blocking")
    assert key == "web"
    assert 370 < value <= 400
    assert "in the hub of web processes" in text


def test_slow_queries_are_counted_and_the_costliest_is_named():
    buffer.record(Kind.SLOW_QUERY.value, "cheap", 1000.0)
    for _ in range(3):
        buffer.record(Kind.SLOW_QUERY.value, "dear", 2000.0)
    buffer.describe(Kind.SLOW_QUERY.value, "dear", {"title": "Slow query on jobs_job"})
    tell("web/1")
    [(_, value, text)] = measure("slow_queries")
    assert value == 4
    assert text.endswith("most of that in: Slow query on jobs_job")


def cache(hits, misses, minutes_ago):
    """Reads of the cache that long ago, in the buckets of every window."""
    at = timezone.now().timestamp() - 60 * minutes_ago
    Aggregate.objects.bulk_create(
        Aggregate(
            type=f"cache.local.{what}", key=f"{minutes_ago}", period=period.seconds,
            bucket=period.bucket(at), count=number, sum=0, max=0, histogram=b"\x80",
            is_sampled=False,
        )
        for what, number in (("hits", hits), ("misses", misses))
        for period in PERIODS.values()
    )  # fmt: skip


def test_a_cache_has_collapsed_when_it_hits_less_than_before():
    cache(900, 100, minutes_ago=300)
    cache(100, 300, minutes_ago=2)
    [(_, value, text)] = measure("cache_collapse")
    assert round(value) == 65
    assert text == "25 % of reads are hits now, 90 % in the day before"


def test_a_cache_that_stays_collapsed_is_not_held_against_itself():
    cache(900, 100, minutes_ago=300)
    cache(5_000, 15_000, minutes_ago=20)
    cache(100, 300, minutes_ago=2)
    [(_, value, _)] = measure("cache_collapse")
    assert round(value) == 65


def test_few_reads_say_nothing_about_the_cache():
    cache(900, 100, minutes_ago=300)
    cache(0, 199, minutes_ago=2)
    assert measure("cache_collapse") == []


def test_the_console_is_blind_when_the_latest_record_is_old():
    with pytest.raises(Unknown):
        measure("digest_lag")
    at = int((timezone.now().timestamp() - 90) * 1000)
    Cursor.objects.create(name=STREAM, position=f"{at}-0")
    [(_, value, text)] = measure("digest_lag")
    assert round(value) == 90
    assert text == "the latest that was recorded is 90 s old"


def test_open_traps_are_counted_once_however_many_processes_have_them():
    publish(checks={"role": "web", "found": {"cache_is_pickled": "pickle", "other": ""}})
    publish("web/2", checks={"role": "web", "found": {"cache_is_pickled": "pickle"}})
    publish("web/3", checks={"role": "web", "found": {"other": UNKNOWN}})
    assert measure("open_checks") == [("", 1, "cache is pickled: pickle")]


def test_the_budget_of_connections_and_the_disk_are_asked_of_postgresql():
    [(_, share, text)] = measure("connection_budget")
    assert 0 < share < 100
    assert "usable connections are open" in text
    [(_, share, text)] = measure("disk_budget")
    assert 0 < share <= 100
    assert "GiB are left" in text


def test_operators_change_rules_and_staff_have_the_last_word(configure):
    configure(queue_age={"threshold": 1800, "severity": "page", "holds_for": 5, "enabled": False})
    found = next(one for one in chosen() if one.rule.name == "queue_age")
    assert (found.threshold, found.severity, found.holds_for) == (1800, Severity.PAGE, 5)
    assert not found.is_enabled
    AlertRule.objects.filter(name="queue_age").update(threshold=60, severity=Severity.TICKET)
    found = next(one for one in chosen() if one.rule.name == "queue_age")
    assert (found.threshold, found.severity) == (60, Severity.TICKET)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"queue": {}}, "There is no rule 'queue'"),
        ({"queue_age": {"limit": 3}}, "can be set: enabled, holds_for, severity, threshold"),
        ({"queue_age": {"severity": "high"}}, "one of ticket, page"),
        ({"queue_age": {"threshold": "high"}}, "must be numbers"),
    ],
)
def test_what_makes_no_sense_is_told_at_the_start(configure, rules, says):
    assert mistakes({}) == []
    configure(**rules)
    [error] = [one for one in run_checks() if one.id == "performance.E001"]
    assert says in error.msg


def test_every_rule_has_a_section_in_the_runbooks_that_names_it():
    texts = dict(sections())
    for rule in RULES.values():
        assert rule.runbook in texts, rule.name
        assert f"`{rule.name}`" in texts[rule.runbook], rule.name


def test_every_section_of_the_runbooks_is_a_rules():
    headings = {rule.runbook for rule in RULES.values()} | {"A test"}
    assert {heading for heading, _ in sections()} == headings


def test_every_rule_says_what_it_means():
    for rule in RULES.values():
        assert rule.meaning.endswith("."), rule.name
        assert rule.title


def test_the_runbooks_are_linked_where_they_are():
    directory = Path(django_settings.BASE_DIR, "docs/operations")
    assert "(runbooks.md)" in (directory / "incident-response.md").read_text()
    assert "(incident-response.md)" in (directory / "runbooks.md").read_text()


def test_values_are_shown_with_their_units():
    assert [shown(90, "seconds"), shown(900, "seconds"), shown(3 * 86_400, "seconds")] == [
        "90 s", "15 min", "3 days",
    ]  # fmt: skip
    assert (shown(14.4, "times"), shown(2**20, "bytes")) == ("14.4 ×", "1 MiB")
