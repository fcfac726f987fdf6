"""The verdict as a whole: stored, told once, compared, shown, exported, and printed."""

import json
import signal
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from prometheus_client import CollectorRegistry

from performance.analysis.bottlenecks import analyser, history, sampler, shapes
from performance.analysis.bottlenecks.analyser import analyse
from performance.analysis.bottlenecks.evidence import WINDOWS
from performance.analysis.bottlenecks.history import compare, keep
from performance.analysis.bottlenecks.little import MOST_GROWTH, enough, places_for
from performance.analysis.bottlenecks.postgresql import SESSIONS
from performance.analysis.bottlenecks.sampler import (
    ANALYSE_EVERY,
    DETECTED,
    OVER_AFTER,
    PUBLISHED,
    BottlenecksSampler,
    take_turn,
)
from performance.cards.bottlenecks import BottlenecksCard
from performance.cards.shapes import Level
from performance.console.reports import markdown, plain
from performance.entry import Name
from performance.metrics.instruments import Instruments
from performance.metrics.tallies import Translator
from performance.models import BottleneckReport
from performance.recorders.pools import waits
from performance.recording.process import buffer
from performance.storage.reading import Scope, values
from performance.storage.trimming import trim
from performance.tests.bottlenecked import healthy, pool_waited, process, requested
from performance.tests.telling import cells, forget, tell
from tests.support import Service

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(waits, "role", "web")
    forget()


def pool_is_small():
    """Requests wait for connections, and for nothing else."""
    pool_waited(60, 50)
    requested(50, 100.0, pool=60.0)
    process()


def printed(*arguments):
    out = StringIO()
    try:
        call_command("bottlenecks", *arguments, stdout=out)
    except SystemExit as end:
        return end.code, out.getvalue()
    return 0, out.getvalue()


def begun():
    """The bottlenecks that were told to have begun, since it was last asked."""
    tallies = buffer.take("").tallies
    return {name.key: tally.count for name, tally in tallies.items() if name.type == DETECTED}


def test_a_fleet_with_little_to_do_is_idle():
    requested(3, 5.0)
    process()
    report = analyse()
    assert (report.state, report.limiter) == (analyser.IDLE, None)
    assert report.summary == "Nothing limits the service: it is idle"
    assert "No worker tells of itself: what jobs wait for is not known." in report.missing


def test_a_fleet_with_much_to_do_and_time_to_spare_is_well():
    healthy()
    assert analyse().state == analyser.WELL


def test_a_fleet_that_says_nothing_is_not_judged():
    report = analyse()
    assert report.state == analyser.UNKNOWN
    assert report.missing == [analyser.NO_PROCESS]


def test_what_is_older_than_the_window_does_not_count():
    pool_is_small()
    assert analyse(WINDOWS["10m"]).state == analyser.LIMITED
    with connection.cursor() as cursor:
        cursor.execute("UPDATE performance_aggregate SET bucket = bucket - interval '30 min'")
    assert analyse(WINDOWS["10m"]).state == analyser.IDLE
    assert analyse(WINDOWS["1h"]).state == analyser.LIMITED


@pytest.mark.parametrize(
    ("places", "hold", "wait", "wanted"),
    [(1, 100, 200, 3), (20, 100, 60, 32), (10, 100, 0, 11), (2, 100, 9000, 8), (5, 0, 10, 20)],
)
def test_enough_is_what_is_held_and_waited_for_and_no_leap(places, hold, wait, wanted):
    assert enough(places, hold, wait) == wanted <= places * MOST_GROWTH


def test_places_are_used_by_four_fifths():
    assert places_for(8.0, 1.0) == 10
    assert places_for(0.0, 1.0) == 1


def test_every_bottleneck_has_its_section_in_the_guide():
    guide = (ROOT / shapes.GUIDE).read_text().splitlines()
    titles = [
        getattr(sys.modules[detect.__module__], name)
        for detect in analyser.DETECTORS
        for name in ("TITLE", "CPU_TITLE", "LOCKS_TITLE")
        if hasattr(sys.modules[detect.__module__], name)
    ]
    assert len(set(titles)) == len(analyser.DETECTORS)
    assert {f"## {title}" for title in titles} <= set(guide)
    anchor = shapes.guide("Repeated queries (N+1)").partition("#")[2]
    assert anchor == "repeated-queries-n1"


def test_what_begins_is_counted_once_and_not_while_it_lasts():
    pool_is_small()
    now = timezone.now()
    take_turn(now)
    assert begun() == {"db_pool": 1}
    take_turn(now + ANALYSE_EVERY)
    assert begun() == {}


def test_what_is_back_after_a_while_begins_anew():
    pool_is_small()
    now = timezone.now()
    take_turn(now)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE performance_aggregate SET bucket = bucket - interval '30 min'")
    begun()
    take_turn(now + ANALYSE_EVERY)
    pool_is_small()
    take_turn(now + 2 * ANALYSE_EVERY)
    assert begun() == {}
    with connection.cursor() as cursor:
        cursor.execute("UPDATE performance_aggregate SET bucket = bucket - interval '30 min'")
    later = now + 3 * ANALYSE_EVERY + OVER_AFTER
    take_turn(later)
    pool_is_small()
    take_turn(later + ANALYSE_EVERY)
    assert begun() == {"db_pool": 1}


def test_what_begins_is_a_metric():
    registry = CollectorRegistry()
    translator = Translator(Instruments("web", registry))
    pool_is_small()
    now = timezone.now()
    for number in range(3):
        take_turn(now + number * ANALYSE_EVERY)
        translator.take(buffer.take("").tallies)
    assert registry.get_sample_value("bottlenecks_detected_total", {"kind": "db_pool"}) == 1


def test_a_report_is_kept_when_something_has_changed_and_now_and_then():
    now = timezone.now()
    process()
    take_turn(now)
    take_turn(now + ANALYSE_EVERY)
    assert BottleneckReport.objects.count() == 1
    pool_is_small()
    take_turn(now + 2 * ANALYSE_EVERY)
    assert BottleneckReport.objects.latest("pk").limiter == "db_pool"
    take_turn(now + 3 * ANALYSE_EVERY)
    assert BottleneckReport.objects.count() == 2
    take_turn(now + 2 * ANALYSE_EVERY + sampler.KEPT_EVERY)
    assert BottleneckReport.objects.count() == 3


def test_whoever_comes_too_soon_does_nothing():
    now = timezone.now()
    take_turn(now)
    buffer.take("")
    take_turn(now + timedelta(seconds=1))
    assert not [name for name in buffer.take("").tallies if name.type == SESSIONS]


@pytest.mark.django_db(transaction=True)
def test_one_process_of_the_fleet_looks_at_a_time():
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtext('performance.bottlenecks'))")
        BottlenecksSampler().sample()
        assert Name(DETECTED, "") not in buffer.take("").tallies
        assert not BottleneckReport.objects.exists()
        # A session that was closed has its locks for a moment longer.
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('performance.bottlenecks'))")
    finally:
        other.close()
    BottlenecksSampler().sample()
    tell("worker/1")
    assert values(PUBLISHED)["worker/1"]["state"] == analyser.UNKNOWN
    assert BottleneckReport.objects.count() == 1


def test_reports_are_forgotten_after_a_month():
    old = keep(analyse())
    BottleneckReport.objects.update(created_at=timezone.now() - timedelta(days=31))
    kept = keep(analyse())
    trim(timezone.now())
    assert list(BottleneckReport.objects.values_list("pk", flat=True)) == [kept.pk] != [old.pk]


def test_two_reports_say_what_is_better_and_what_is_worse():
    pool_is_small()
    before = analyse().document()
    forget()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM performance_aggregate")
    requested(50, 200.0)
    process()
    told = {one.label: one for one in compare(before, analyse().document())}
    assert (told["DB pool"].after, told["DB pool"].verdict) == (0.0, history.BETTER)
    assert told["Requests p95"].verdict == history.WORSE
    assert told["Requests"].verdict == ""
    assert told["Jobs wait p95"].before is None


def shown(response):
    assert response.status_code == 200
    return response.content.decode()


def test_the_card_shows_the_latest_look_with_its_evidence():
    assert "Ask now" not in BottlenecksCard().content(Scope()).empty
    pool_is_small()
    take_turn(timezone.now())
    tell("worker/1")
    content = BottlenecksCard().content(Scope())
    assert content.health
    assert content.health.level is Level.RED
    (row,) = cells(content, "bottlenecks")
    assert (row["title"], row["setting"]) == ("DB pool", "DB_POOL_SIZE")
    assert "Wait p95" in [one["label"] for one in cells(content, "evidence")]
    assert [one["limiter"] for one in cells(content, "reports")] == ["DB pool"]
    assert [value for value in content.charts[0].lines[0].values if value] == [1]


def test_the_page_offers_to_ask_and_shows_what_was_found(admin_client):
    page = reverse("console:page", args=["bottlenecks"])
    assert "Nobody has looked for bottlenecks" in shown(admin_client.get(page))
    pool_is_small()
    response = admin_client.post(reverse("console:report-ask"), {"period": "10m"})
    report = BottleneckReport.objects.get()
    assert response.url == reverse("console:report", args=[report.pk])
    assert report.requested_by == User.objects.get(username="admin")
    assert LogEntry.objects.get().object_id == str(report.pk)
    text = shown(admin_client.get(response.url))
    assert "DB_POOL_SIZE" in text
    assert reverse("console:page", args=["pools"]) in text
    assert response.url in shown(admin_client.get(page))


def test_two_reports_are_shown_side_by_side_the_older_first(admin_client):
    pool_is_small()
    first, second = keep(analyse()), keep(analyse())
    address = reverse("console:reports-compared")
    query = {"before": second.pk, "after": first.pk}
    text = shown(admin_client.get(address, query))
    assert text.index(reverse("console:report", args=[first.pk])) < text.index(
        reverse("console:report", args=[second.pk])
    )
    assert "the same" in text
    assert admin_client.get(address, {"before": first.pk}).status_code == 400
    assert admin_client.get(address, {"before": first.pk, "after": 10**9}).status_code == 404


def test_a_report_is_exported_as_markdown(admin_client):
    pool_is_small()
    number = keep(analyse()).pk
    response = admin_client.get(reverse("console:report-markdown", args=[number]))
    text = shown(response)
    assert response["Content-Type"].startswith("text/markdown")
    assert f"bottlenecks-{number}.md" in response["Content-Disposition"]
    assert "## DB pool (red)" in text
    assert "Change **DB\\_POOL\\_SIZE" in text
    assert "| Wait p95 |" in text


def test_names_from_outside_mean_nothing_in_markdown():
    assert plain("a|b\n# c <script>") == "a\\|b \\# c \\<script\\>"
    assert "Nothing limits" in markdown(analyse().document()) or "Not enough" in markdown(
        analyse().document()
    )


@pytest.mark.parametrize("name", ["report", "report-markdown"])
def test_who_may_not_look_sees_no_report(client, name):
    number = keep(analyse()).pk
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get(reverse(f"console:{name}", args=[number])).status_code == 403


def test_who_may_only_look_may_not_ask(client):
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_console"))
    client.force_login(user)
    page = reverse("console:page", args=["bottlenecks"])
    assert "Ask now" not in shown(client.get(page))
    assert client.post(reverse("console:report-ask"), {"period": "1h"}).status_code == 403


def test_asking_needs_a_post_and_a_period_that_there_is(admin_client):
    address = reverse("console:report-ask")
    assert admin_client.get(address).status_code == 405
    assert admin_client.post(address, {"period": "1y"}).status_code == 404


def test_the_command_names_the_limiter_stores_the_report_and_fails_when_it_is_red():
    pool_is_small()
    code, text = printed("--period", "10m")
    assert code == 1
    assert "DB pool limits the service" in text
    assert "DB_POOL_SIZE" in text
    assert BottleneckReport.objects.get().period == "10m"


def test_the_command_succeeds_when_nothing_limits():
    healthy()
    code, text = printed()
    assert code == 0
    assert "Nothing limits the service" in text
    assert "Requests p95" in text


def test_the_command_says_what_is_missing():
    code, text = printed()
    assert code == 0
    assert "Not enough data" in text
    assert "No process tells of itself" in text


def test_the_command_writes_the_report_as_json(tmp_path):
    healthy()
    printed("--json", str(tmp_path / "report.json"))
    document = json.loads((tmp_path / "report.json").read_text())
    assert (document["state"], document["window"]) == ("well", "1h")


def test_a_report_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(CommandError, match="could not be written"):
        printed("--json", str(tmp_path / "nowhere" / "report.json"))


@pytest.mark.parametrize("arguments", [["--period", "1y"], ["--depth", "3"], ["now"]])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(CommandError):
        printed(*arguments)


@pytest.mark.django_db(transaction=True)
def test_watching_ends_with_ctrl_c_and_stores_nothing(database_url):
    service = Service(["manage.py", "bottlenecks", "--watch"], DATABASE_URL=database_url)
    service.wait_for("No process tells of itself")
    assert service.stop(signal.SIGINT) == 0
    assert not BottleneckReport.objects.exists()
