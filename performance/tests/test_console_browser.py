"""The console as a person has it: in a browser, from a real web process."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

from performance.actions.registry import ACTIONS
from performance.analysis.bottlenecks.analyser import analyse
from performance.analysis.bottlenecks.evidence import WINDOWS
from performance.analysis.bottlenecks.history import keep
from performance.benchmarks import busy_fleet, busy_states
from performance.console.pages import PAGES
from performance.models import Alert, Capture, Finding, Subject, Value
from performance.profiling.stacks import pack
from performance.tests.browser import (
    CUT,
    DESK,
    PALE_TEXT,
    PHONE,
    SWAPPED,
    UNREACHED,
    UNSEEN_FOCUS,
    WIDER,
    complaints,
    executable,
    launched,
    shot,
)
from performance.tests.sessions import session

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.django_db]
# A refresh comes every 5 seconds.
REFRESHED = 15_000
# More than any page has to stop at.
MOST_TABS = 500


def committed(function, *arguments):
    """Outside of the test's transaction, so that the web process sees it."""

    def run():
        try:
            return function(*arguments)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


@pytest.fixture(scope="module")
def browser():
    yield from launched()


@pytest.fixture(scope="module")
def fleet(django_db_setup, django_db_blocker):
    """What a busy fleet leaves behind, a part of it."""
    executable()
    with django_db_blocker.unblock():
        committed(busy_fleet.make, 12)
        yield
        committed(busy_fleet.clear)


@pytest.fixture(scope="module")
def session_key(fleet):
    """A superuser's session."""

    def log_in():
        client = Client()
        client.force_login(User.objects.create_superuser("console-browser"))
        return client.cookies[settings.SESSION_COOKIE_NAME].value

    yield committed(log_in)
    committed(lambda: Session.objects.all().delete())
    committed(lambda: User.objects.filter(username="console-browser").delete())


@pytest.fixture(scope="module")
def console(start_web, fleet):
    """The console's address."""
    with start_web(PERFORMANCE_ENABLED="false") as base:
        yield f"{base}/admin/performance/"


@pytest.fixture
def opened(browser, session_key, console):
    """Opens a page of the console, with fresh words of every process; gives page and complaints."""

    @contextmanager
    def open_(slug="", size=DESK, scheme="light"):
        # Colours that are on their way from one to another cannot be judged.
        context = browser.new_context(
            viewport=size, color_scheme=scheme, reduced_motion="reduce", has_touch=size == PHONE
        )
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session_key, "url": console}
        context.add_cookies([cookie])
        page = context.new_page()
        found = complaints(page)
        committed(busy_states.speak)
        page.goto(f"{console}{slug}/" if slug else console)
        try:
            yield page, found
        finally:
            context.close()

    return open_


def read_well(page):
    """On a phone nothing is cut off or scrolled sideways; text is legible in both schemes."""
    page.set_viewport_size(PHONE)
    assert "\n".join(page.evaluate(WIDER) + page.evaluate(CUT)) == ""
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert "\n".join(page.evaluate(PALE_TEXT)) == ""


@pytest.mark.parametrize("slug", [slug for slug in PAGES if slug])
def test_every_page_loads_without_complaint_and_reads_well_on_a_phone(opened, slug):
    with opened(slug, PHONE) as (page, found):
        expect(page).to_have_title(re.compile(rf"Performance: {re.escape(PAGES[slug].title)}"))
        expect(page.locator(".console-card").first).to_be_visible()
        assert page.locator(".console-error").all_inner_texts() == []
        shot(page, f"{slug}-phone")
        read_well(page)
        shot(page, f"{slug}-dark")
        assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_overview_has_a_tile_a_page_and_text_that_can_be_read(opened, size, scheme):
    with opened("", size, scheme) as (page, found):
        expect(page.locator(".console-tile")).to_have_count(len(PAGES) - 1)
        expect(page.locator(".console-strip li")).to_have_count(len(PAGES) - 1)
        assert "\n".join(page.evaluate(WIDER) + page.evaluate(CUT)) == ""
        assert "\n".join(page.evaluate(PALE_TEXT)) == ""
        shot(page, f"overview-{'phone' if size == PHONE else 'desk'}-{scheme}")
        assert found == []


@pytest.fixture(scope="module")
def details(fleet):
    """Where everything is that a row of the console leads to."""

    def make():
        keep(analyse(WINDOWS["10m"]))
        report = keep(analyse(WINDOWS["1h"]))
        capture = Capture.objects.create(
            kind="cpu", target="web-0/10", state="done", limits={"seconds": 5},
            asked_at=timezone.now(), stacks=pack({("serve (a.py:1)", "work (b.py:2)"): 3}),
        )  # fmt: skip
        sql = "SELECT * FROM jobs_job JOIN jobs_client ON jobs_client.id = client_id"
        Subject.objects.create(
            type="query", key="detail", document={"sql": sql}, seen_at=timezone.now()
        )
        return [
            f"alert/{Alert.objects.get(state='firing').pk}/",
            f"captures/{capture.pk}/",
            f"captures/finding/{Finding.objects.values_list('pk', flat=True)[0]}/",
            f"reports/{report.pk}/",
            f"reports/compared/?before={report.pk - 1}&after={report.pk}",
            "plan/query/detail/",
            "suggestions/",
            "runbook/requests-fail/",
            *(f"actions/{name}/" for name in ACTIONS),
            "actions/pause/?preview=1",
        ]

    yield committed(make)
    committed(lambda: Capture.objects.all().delete())


def test_what_a_row_leads_to_reads_well_too(opened, details, console):
    with session() as (pid, _), opened() as (page, found):
        for path in [*details, f"session/{pid}/"]:
            page.goto(f"{console}{path}")
            expect(page.locator(".console-pages [aria-current]")).to_have_count(1)
            read_well(page)
            shot(page, re.sub(r"[\W\d]+", "-", path).strip("-"))
        assert found == []


def test_what_does_harm_does_not_look_like_what_does_none(opened, console):
    colour = "one => getComputedStyle(one).backgroundColor"
    with opened() as (page, _):
        colours = []
        for name in ("resume", "pause"):
            page.goto(f"{console}actions/{name}/?preview=1")
            colours.append(page.locator("form[method=post] .button").last.evaluate(colour))
        assert colours[0] != colours[1]


def test_trouble_comes_first_and_leads_to_its_page(opened):
    with opened() as (page, _):
        levels = page.locator(".console-strip .console-level").all_inner_texts()
        assert levels == sorted(levels, key=["red", "yellow", "green"].index)
        page.locator(".console-strip a", has_text="Requests").click()
        expect(page.locator("h1")).to_have_text("Requests")


def test_charts_have_points_and_say_what_one_points_at(opened):
    with opened("requests") as (page, _):
        curves = page.locator("path.console-curve").evaluate_all(
            "all => all.map(one => one.getAttribute('d').split('L').length)"
        )
        assert curves
        assert min(curves) > 30
        says = page.locator(".console-slot title").nth(30).text_content()
        assert re.search(r"\d\d:\d\d · rate [\d.,]+/s", says or "")
        assert page.locator(".console-marker").count() > 0


def test_a_heading_sorts_its_table_and_a_refresh_keeps_it(opened):
    with opened("requests") as (page, _):
        table = page.locator("#card-requests table").first
        table.get_by_role("link", name="Slowest").click()
        heading = page.locator("#card-requests th", has_text="Slowest").first
        expect(heading).to_have_attribute("aria-sort", "descending")
        with page.expect_response(re.compile("/card/requests/"), timeout=REFRESHED) as answer:
            pass
        assert "sort=-views.max" in answer.value.url
        expect(heading).to_have_attribute("aria-sort", "descending")
        page.locator(".console-periods a", has_text="6h").click()
        expect(page.locator(".console-periods [aria-current]")).to_have_text("6h")
        expect(heading).to_have_attribute("aria-sort", "descending")
        heading.get_by_role("link").click()
        expect(heading).to_have_attribute("aria-sort", "ascending")
        page.reload()
        expect(heading).to_have_attribute("aria-sort", "ascending")
        assert page.evaluate("sessionStorage.getItem('htmx-history-cache')") is None


def test_another_period_and_process_are_looked_at(opened):
    with opened("requests") as (page, _):
        page.locator(".console-periods a", has_text="7d").click()
        expect(page.locator(".console-periods [aria-current]")).to_have_text("7d")
        page.locator(".console-periods a", has_text="6h").click()
        page.get_by_label("Process").select_option("web-0/10")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_label("Process")).to_have_value("web-0/10")
        expect(page.locator(".console-periods [aria-current]")).to_have_text("6h")
        shown = page.locator(".console-axis").first.inner_text().split()
        begins, ends = (60 * int(text[:2]) + int(text[3:]) for text in (shown[0], shown[-1]))
        # Six hours in whole buckets, of which the last is not over.
        assert 348 < (ends - begins) % 1440 <= 360
        processes = page.locator("td[data-label=Process]").all_inner_texts()
        assert set(processes) == {"web-0/10"}


def test_a_refresh_takes_nothing_away(opened):
    with opened("errors", {**DESK, "width": 800}) as (page, found):
        details = page.locator("details").first
        details.locator("summary").click()
        scroll = page.locator(".console-scroll").first
        scroll.evaluate("e => { e.scrollLeft = 40 }")
        expect(details.locator("summary")).to_be_focused()
        page.evaluate(SWAPPED)
        expect(details).to_have_attribute("open", "")
        expect(details.locator("summary")).to_be_focused()
        assert scroll.evaluate("e => e.scrollLeft") == 40
        heading = page.locator("thead a", has_text="Times")
        heading.focus()
        page.evaluate(SWAPPED)
        expect(heading).to_be_focused()
        assert found == []


def test_a_click_on_a_heading_counts_though_a_refresh_is_under_way(opened):
    refreshes, clicks = [], []
    with opened("requests") as (page, _):
        page.route("**/card/requests/**", lambda route: refreshes.append(route))  # noqa: PLW0108 - it is given attributes
        page.route("**/performance/requests/?*sort=*", lambda route: clicks.append(route))  # noqa: PLW0108
        with page.expect_request("**/card/requests/**", timeout=REFRESHED):
            pass
        heading = page.locator("#card-requests th", has_text="Slowest").first
        with page.expect_request("**/performance/requests/?*sort=*"):
            heading.get_by_role("link").click()
        # The refresh is answered first; once it is given up, nobody hears that.
        with suppress(PlaywrightError):
            refreshes[0].fulfill(response=refreshes[0].fetch())
        clicks[0].continue_()
        expect(heading).to_have_attribute("aria-sort", "descending")
        expect(page.locator("#console-stale")).to_be_hidden()


def test_an_error_leads_to_where_it_came_from(opened):
    with opened("errors") as (page, _):
        page.locator("#card-errors tbody a").first.click()
        expect(page.locator("details[open] .console-stack").first).to_be_visible()


def test_a_number_changes_without_a_reload(opened):
    with opened("queue") as (page, found):
        ready = page.locator("#card-queue .console-fact", has_text="Ready").first
        expect(ready).to_contain_text("2,143")
        queue = Value.objects.filter(type="queue")
        document = queue.get().document
        committed(lambda: queue.update(document={**document, "ready": 77}))
        expect(ready).to_contain_text("77", timeout=REFRESHED)
        committed(lambda: queue.update(document=document))
        assert found == []


def test_the_overview_refreshes_itself(opened):
    with opened() as (page, found):
        with page.expect_response(
            re.compile("/admin/performance/tiles/"), timeout=REFRESHED
        ) as one:
            pass
        assert one.value.ok
        expect(page.locator(".console-tile")).to_have_count(len(PAGES) - 1)
        assert found == []


def test_a_hidden_page_asks_for_nothing(opened):
    with opened("queue") as (page, _):
        page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        # Of two cards one would have asked by then.
        page.wait_for_timeout(6_000)
        assert asked == []


@pytest.mark.parametrize("slug", [slug for slug in PAGES if slug])
def test_beside_the_sidebar_no_table_has_to_be_scrolled(opened, slug):
    with opened(slug, {"width": 1440, "height": 900}) as (page, _):
        assert (
            page.locator(".console-scroll").evaluate_all(
                "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)"
            )
            == []
        )


def test_a_table_is_scrolled_by_keyboard(opened):
    with opened("requests") as (page, _):
        page.locator(".console-scroll").first.focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('.console-scroll').scrollLeft > 0")


@pytest.mark.parametrize("slug", ["", "requests", "errors", "profiles", "actions"])
def test_everything_is_reached_by_keyboard_and_shows_where_one_is(opened, slug):
    with opened(slug) as (page, _):
        # Nothing is refreshed meanwhile: what is new has not been reached.
        page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
        page.keyboard.press("Tab")
        assert "skip" in (page.evaluate("document.activeElement.textContent") or "").lower()
        unseen = set()
        for _ in range(MOST_TABS):
            page.keyboard.press("Tab")
            unseen.add(page.evaluate(UNSEEN_FOCUS))
            if page.evaluate("document.activeElement === document.body"):
                break
        assert unseen == {""}
        assert page.evaluate(UNREACHED) == []


def test_a_page_whose_refresh_fails_says_since_when_it_is_old(opened):
    with opened("queue") as (page, _):
        note = page.locator("#console-stale")
        expect(note).to_be_hidden()
        page.route("**/card/**", lambda route: route.abort())
        expect(note).to_be_visible(timeout=REFRESHED)
        expect(note).to_have_text(re.compile(r"No answer since \d\d:\d\d:\d\d UTC"))
        page.unroute("**/card/**")
        expect(note).to_be_hidden(timeout=REFRESHED)


def test_whoever_was_logged_out_is_asked_to_log_in(opened):
    with opened("queue") as (page, _):
        page.context.clear_cookies()
        expect(page.locator("#login-form")).to_be_visible(timeout=REFRESHED)
        expect(page.locator(".console-card")).to_have_count(0)


def test_a_table_is_had_as_csv(opened):
    with opened("requests") as (page, _):
        with page.expect_download() as download:
            page.locator(".console-csv").first.click()
        assert download.value.suggested_filename == "requests-views.csv"
