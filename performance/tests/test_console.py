"""The console's pages as answers: who may see them, and what they make of strange questions."""

from __future__ import annotations

import csv

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from performance.benchmarks import busy_fleet
from performance.cards.shapes import Bar, Chart, Column, Content, Health, Level, Line, Row, Table
from performance.console.overview import health, tile
from performance.console.pages import CARDS, PAGES, Page
from performance.console.rendering import Sorting, rendered
from performance.models import Deploy
from performance.storage.periods import PERIODS
from performance.storage.reading import Scope

BASE = "/admin/performance/"
TABLE = Table(
    "words",
    "Words",
    [Column("word", "Word"), Column("number", "Number", "number")],
    [
        Row({"word": "=1+1", "number": 2}),
        Row({"word": "b", "number": None}),
        Row({"word": "a", "number": 3}),
    ],
)


class WordsCard:
    """A card of the tests' own."""

    name = "words"
    title = "Words"
    template = ""

    def content(self, scope: Scope) -> Content:
        return Content(health=Health(Level.YELLOW, "words fail me"), tables=[TABLE])


class BrokenCard(WordsCard):
    """One that cannot be read."""

    name = "broken"
    title = "Broken"

    def content(self, scope: Scope) -> Content:
        raise KeyError("nothing of the sort")


class RefusedCard(WordsCard):
    """One whose statement PostgreSQL refuses."""

    def content(self, scope: Scope) -> Content:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        raise AssertionError


class CrookedCard(WordsCard):
    """One whose chart cannot be drawn."""

    def content(self, scope: Scope) -> Content:
        chart = Chart("Words", [timezone.now()] * 2, [Line("words", [1, 2])], is_rate=True)
        return Content(charts=[chart])


@pytest.fixture
def words(monkeypatch):
    """The page `checks` with a card that works and one that fails."""
    cards = (BrokenCard(), WordsCard())
    page = Page("checks", "Checks", "Of words.", cards)
    monkeypatch.setitem(PAGES, "checks", page)
    for card in cards:
        monkeypatch.setitem(CARDS, card.name, card)
    return page


@pytest.fixture
def staff(client, db):
    """Somebody who may see the console, and do nothing in it."""
    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_console"))
    client.force_login(user)
    return client


@pytest.mark.parametrize("path", ["", "requests/", "tiles/", "card/requests/"])
def test_who_is_not_logged_in_is_sent_to_the_login(client, db, path):
    answer = client.get(BASE + path)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(
    "path", ["", "requests/", "tiles/", "card/requests/", "card/requests/views.csv"]
)
def test_staff_without_the_permission_are_refused(client, db, path):
    client.force_login(User.objects.create_user("plain", is_staff=True))
    assert client.get(BASE + path).status_code == 403


@pytest.mark.parametrize("slug", list(PAGES))
def test_every_page_is_there_before_anything_was_recorded(staff, slug):
    answer = staff.get(f"{BASE}{slug}/" if slug else BASE)
    assert answer.status_code == 200
    assert "This card failed" not in answer.content.decode()
    assert "did not answer" not in answer.content.decode()


@pytest.mark.parametrize("path", ["nothing/", "card/nothing/", "card/requests/nothing.csv"])
def test_what_does_not_exist_is_not_found(staff, path):
    assert staff.get(BASE + path).status_code == 404


def test_an_unknown_period_is_the_hour(staff):
    text = staff.get(BASE + "requests/?period=century").content.decode()
    assert 'aria-current="true">1h<' in text


def test_a_strange_sorting_sorts_nothing(staff, words):
    assert staff.get(BASE + "checks/?sort=-words.<script>").status_code == 200
    assert Sorting.parse("-words.nothing").apply(TABLE) == TABLE


def test_what_has_no_value_is_last_in_either_direction():
    for sort, expected in (("words.number", [2, 3, None]), ("-words.number", [3, 2, None])):
        rows = Sorting.parse(sort).apply(TABLE).rows
        assert [row.cells["number"] for row in rows] == expected


def test_no_value_of_a_csv_is_a_formula(staff, words):
    answer = staff.get(BASE + "card/words/words.csv")
    assert "attachment" in answer["Content-Disposition"]
    lines = list(csv.reader(answer.content.decode().splitlines()))
    assert lines == [["word", "number"], ["'=1+1", "2"], ["b", ""], ["a", "3"]]


@pytest.mark.parametrize(
    ("card", "says"),
    [(BrokenCard(), "This card failed: KeyError"), (RefusedCard(), "division by zero")],
)
def test_the_csv_of_a_card_that_cannot_be_read_says_why(staff, monkeypatch, card, says):
    monkeypatch.setitem(CARDS, "words", card)
    answer = staff.get(BASE + "card/words/words.csv")
    assert answer.status_code == 503
    assert says in answer.content.decode()


def test_a_csv_says_what_most_of_a_bar_is(staff, words, monkeypatch):
    bar = Bar(10, {"pool": 2, "database": 7})
    table = Table("bars", "Bars", [Column("went", "Went", "bar")], [Row({"went": bar})])
    monkeypatch.setattr(WordsCard, "content", lambda _, scope: Content(tables=[table]))
    answer = staff.get(BASE + "card/words/bars.csv")
    assert answer.content.decode().split() == ["went", "70", "%", "database"]


def test_a_process_that_is_gone_stays_chosen(staff):
    text = staff.get(BASE + "requests/?instance=web/9").content.decode()
    assert '<option value="web/9" selected>web/9 (gone)</option>' in text


def test_a_heading_leads_to_the_page_and_another_period_keeps_the_order(staff, words):
    text = staff.get(BASE + "checks/?sort=-words.number").content.decode()
    assert f'href="{BASE}checks/?period=1h&amp;sort=words.number"' in text
    assert 'href="?period=6h&amp;sort=-words.number"' in text
    assert '<input type="hidden" name="sort" value="-words.number">' in text


def test_a_cell_that_names_a_process_leads_to_that_process(staff, words, monkeypatch):
    table = Table("of", "Of", [Column("instance", "Process", "code")], [Row({"instance": "web/1"})])
    monkeypatch.setattr(WordsCard, "content", lambda _, scope: Content(tables=[table]))
    link = 'href="?period=1h&amp;instance=web%2F1">web/1<'
    assert link in staff.get(BASE + "checks/").content.decode()
    assert link not in staff.get(BASE + "checks/?instance=web/1").content.decode()


def test_a_card_that_fails_says_so_and_harms_no_other(staff, words):
    text = staff.get(BASE + "checks/").content.decode()
    assert "This card failed: KeyError" in text
    assert "nothing of the sort" not in text
    assert "Words fail me." in text


@pytest.mark.django_db
def test_a_card_that_postgresql_refuses_harms_no_other():
    refused, _, after = rendered([RefusedCard(), BrokenCard(), CARDS["requests"]], Scope())
    assert "PostgreSQL did not answer this card: division by zero" in refused.error
    assert not after.error


@pytest.mark.django_db
def test_a_card_that_cannot_be_drawn_harms_no_other():
    crooked, after = rendered([CrookedCard(), WordsCard()], Scope())
    assert "This card failed: ZeroDivisionError" in crooked.error
    assert not after.error


@pytest.mark.django_db
def test_in_brief_the_charts_after_the_first_are_not_read():
    busy_fleet.make(most_keys=3)
    with CaptureQueriesContext(connection) as brief:
        (one,) = rendered([CARDS["queue"]], Scope(is_brief=True))
    with CaptureQueriesContext(connection) as full:
        rendered([CARDS["queue"]], Scope())
    last = "{attempt.run,attempt.wait}"
    assert len(one.charts) == 1
    assert any(last in query["sql"] for query in full)
    assert not any(last in query["sql"] for query in brief)


@pytest.mark.django_db
def test_what_processes_say_is_read_once_for_all_cards():
    busy_fleet.make(most_keys=3)
    with CaptureQueriesContext(connection) as queries:
        rendered([CARDS["processes"], CARDS["memory"], CARDS["lag"]], Scope())
    assert sum("performance_value" in one["sql"] for one in queries) == 1


@pytest.mark.django_db
def test_a_page_is_as_well_as_the_worst_of_its_cards(words):
    found = tile(words, rendered(words.cards, Scope()))
    assert found.health.level == Level.YELLOW
    assert "failed" in found.health.reason


def test_the_overview_names_every_page_with_its_health(staff):
    text = staff.get(BASE).content.decode()
    assert text.count('class="module console-tile"') == len(PAGES) - 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name", ["processes", "memory", "pools", "cache", "lag", "checks", "bottlenecks"]
)
def test_where_nobody_speaks_nothing_is_green(name):
    (one,) = rendered([CARDS[name]], Scope(is_brief=True))
    assert health(one).level == Level.YELLOW
    assert one.content.empty


@pytest.mark.django_db
def test_what_is_not_kept_of_a_process_is_no_trouble():
    (one,) = rendered([CARDS["lag"]], Scope(PERIODS["24h"], "web/1"))
    assert health(one).level == Level.GREEN


@pytest.mark.django_db
def test_a_deploy_is_marked_on_the_charts():
    busy_fleet.make(most_keys=3)
    Deploy.objects.all().delete()
    now = timezone.now()
    (one,) = rendered([CARDS["requests"]], Scope(), events=[(now, "deploy of 1234567")])
    assert [marker.text for marker in one.charts[0].markers] == ["deploy of 1234567"]


def has_rows(one):
    return any(table.rows for table in one.tables)


@pytest.mark.django_db
def test_every_card_shows_a_busy_fleet_in_every_window():
    busy_fleet.make(most_keys=4)
    # Nobody has asked for anything.
    cards = [card for name, card in CARDS.items() if name != "actions"]
    for period in PERIODS.values():
        shown = rendered(cards, Scope(period))
        assert {one.card.name: one.error for one in shown if one.error} == {}
        assert [one.card.name for one in shown if not (one.content.facts or has_rows(one))] == []


@pytest.mark.django_db
def test_cards_show_nothing_of_other_processes_than_the_chosen_one():
    busy_fleet.make(most_keys=4)
    for period in PERIODS.values():
        shown = rendered(list(CARDS.values()), Scope(period, "web-0/10"))
        assert {one.card.name: one.error for one in shown if one.error} == {}
        by_name = {one.card.name: one for one in shown}
        for name in ("processes", "memory", "pools", "cache"):
            rows = [row.cells for one in by_name[name].tables for row in one.rows]
            told = {row[key] for row in rows for key in ("instance", "process") if key in row}
            assert told == {"web-0/10"}, name


def test_a_view_leads_to_a_capture_of_its_next_requests(admin_client):
    busy_fleet.make(most_keys=2)
    (one,) = rendered([CARDS["requests"]], Scope())
    row = one.tables[0].rows[0]
    text = admin_client.get(row.url).content.decode()
    assert f"<option selected>{escape(row.cells['view'])}</option>" in text


def test_a_code_of_failures_leads_to_its_jobs(admin_client):
    busy_fleet.make(most_keys=2)
    (one,) = rendered([CARDS["queue"]], Scope())
    (row, *_) = next(table.rows for table in one.tables if table.name == "failures")
    assert row.url.endswith(f"/jobs/job/?error={row.cells['code']}")
    assert admin_client.get(row.url).status_code == 200
