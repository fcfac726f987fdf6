"""The verdict as a whole: stored, compared, shown, exported, and printed."""

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

from performance.analysis.bottlenecks import analyser, history, shapes
from performance.analysis.bottlenecks.analyser import analyse
from performance.analysis.bottlenecks.evidence import WINDOWS, Evidence
from performance.analysis.bottlenecks.history import compare, keep
from performance.analysis.bottlenecks.little import MOST_GROWTH, enough, places_for
from performance.analysis.bottlenecks.sampler import take_turn
from performance.cards.bottlenecks import BottlenecksCard
from performance.cards.shapes import Level
from performance.console.reports import markdown, plain
from performance.models import Aggregate, BottleneckReport
from performance.recorders.pools import waits
from performance.storage.periods import MINUTE
from performance.storage.reading import Scope
from performance.storage.trimming import trim
from performance.tests.bottlenecked import (
    broken,
    healthy,
    older,
    pool_is_small,
    process,
    requested,
    scraped,
)
from performance.tests.telling import cells, forget, tell
from tests.support import Service

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(waits, "role", "web")
    forget()


def printed(*arguments):
    out = StringIO()
    try:
        call_command("bottlenecks", *arguments, stdout=out)
    except SystemExit as end:
        return end.code, out.getvalue()
    return 0, out.getvalue()


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
    assert report.document()["level"] == "yellow"


def test_a_detector_that_fails_is_told_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(analyser, "DETECTORS", (broken, *analyser.DETECTORS))
    pool_is_small()
    report = analyse()
    assert [one.name for one in report.found] == ["db_pool"]
    assert report.missing[0].startswith("The detector broken failed")


def test_without_one_of_its_detectors_nobody_knows_that_nothing_limits(monkeypatch):
    monkeypatch.setattr(analyser, "DETECTORS", (broken,))
    healthy()
    report = analyse()
    assert (report.state, report.level) == (analyser.UNKNOWN, "yellow")


def test_what_is_older_than_the_window_does_not_count():
    pool_is_small()
    assert analyse(WINDOWS["10m"]).state == analyser.LIMITED
    older(30)
    assert analyse(WINDOWS["10m"]).state == analyser.IDLE
    assert analyse(WINDOWS["1h"]).state == analyser.LIMITED


@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
def test_load_that_has_just_begun_is_as_old_as_its_minute(window):
    scraped(20, waited=10.0, ran=100.0)
    process()
    runs = Aggregate.objects.filter(type="attempt.run", period=MINUTE.seconds, instance="")
    evidence = Evidence(window)
    for seconds, busy in ((10, 10), (70, 60)):
        evidence.now = runs.get().bucket + timedelta(seconds=seconds)
        assert evidence.busy_seconds("attempt.run") == busy


def test_of_load_before_the_last_hour_the_longer_buckets_count():
    scraped(20, waited=10.0, ran=100.0)
    process()
    older(120)
    assert Evidence(WINDOWS["1h"]).busy_seconds("attempt.run") == 0
    for name in ("6h", "24h", "7d"):
        assert Evidence(WINDOWS[name]).busy_seconds("attempt.run") == 360


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
    lines = shown(admin_client.get(address, query | {"csv": 1})).splitlines()
    assert lines[0] == "label,before,after,unit,verdict"
    assert any(line.endswith("percent,the same") for line in lines)
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


def test_a_report_of_a_service_that_says_nothing_says_so_in_markdown():
    assert "Not enough data" in markdown(analyse().document())


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
