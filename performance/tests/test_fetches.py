"""Outgoing fetches by host, and the card that shows how the hosts are."""

from datetime import timedelta

import pytest
from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone

from jobs.engine.batcher import Outcome
from jobs.engine.pipeline import failure
from jobs.errors import FetchTimeout, RobotsDenied
from jobs.models import Domain
from performance.cards.domains import DomainsCard
from performance.cards.shapes import Level
from performance.entry import Name
from performance.recorders import fetches, queue
from performance.recorders.fetches import Fetches
from performance.recording.buffer import OTHER
from performance.storage.reading import Scope
from performance.tests.attempts import new_claim, phases, succeeded
from performance.tests.telling import cells, fact, forget, recorded, tell

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty():
    forget()


@pytest.fixture
def work():
    """What a worker gathers."""
    return Fetches()


def fetched(work, host="x.example", **milliseconds):
    claim = new_claim(host)
    work.ended(claim, succeeded(claim, **milliseconds))


def failed(work, host="x.example", error=None, **milliseconds):
    claim = new_claim(host)
    work.ended(claim, failure(claim, error or FetchTimeout(), phases(claim, **milliseconds)))


def content():
    return DomainsCard().content(Scope())


def test_a_fetch_takes_what_its_phases_took_without_parsing(work):
    fetched(work, dns=1.0, connect=2.0, first_byte=10.0, download=7.0, parse=100.0)
    work.sample()
    found = recorded()
    assert found[Name("fetch", "x.example")].sum == pytest.approx(20)
    assert found[Name("attempt.fetch", "")].sum == pytest.approx(20)


def test_phases_are_told_by_host_as_means_of_all_its_attempts(work):
    fetched(work, dns=4.0, first_byte=10.0)
    fetched(work, first_byte=30.0)
    work.sample()
    found = recorded()
    dns, first_byte = (found[Name(f"fetch.{name}", "x.example")] for name in ("dns", "first_byte"))
    assert (dns.count, dns.sum) == (2, 4)
    assert (first_byte.count, first_byte.sum) == (2, 40)


def test_phases_are_told_of_all_attempts_together_too(work):
    fetched(work, "x.example", robots=3.0)
    fetched(work, "y.example", robots=5.0)
    work.sample()
    found = recorded()[Name("attempt.phase", "robots")]
    assert (found.count, found.sum) == (2, 8)


def test_failures_are_told_by_host_and_code(work):
    failed(work, wait=10.0)
    failed(work, error=RobotsDenied(), robots=1.0)
    work.sample()
    found = recorded()
    assert found[Name("fetch.failed", "x.example")].count == 2
    assert found[Name("fetch.error", "x.example timeout")].count == 1
    assert found[Name("fetch.error", "x.example robots_denied")].count == 1


def test_failures_are_told_of_all_hosts_by_code_and_whether_they_were_the_last(work):
    for host, attempt in (("x.example", 1), ("y.example", 3)):
        claim = new_claim(host, attempt=attempt)
        work.ended(claim, failure(claim, FetchTimeout(), phases(claim, wait=1.0)))
    work.sample()
    found = recorded()[Name("attempt.error", "timeout")]
    assert (found.count, found.sum) == (2, 1)


def test_what_robots_txt_forbids_is_no_fetch(work):
    failed(work, error=RobotsDenied(), robots=1.0)
    work.sample()
    found = recorded()
    assert Name("fetch", "x.example") not in found
    assert found[Name("fetch.unfetched", "x.example")].count == 1


def test_attempts_without_an_outcome_are_not_looked_at(work):
    claim = new_claim()
    work.ended(claim, None)
    work.ended(claim, Outcome(claim, "released"))
    work.sample()
    assert recorded() == {}


def test_what_was_told_is_not_told_again(work):
    fetched(work, dns=1.0)
    work.sample()
    recorded()
    work.sample()
    assert recorded() == {}


def test_phases_are_told_of_the_hosts_that_take_most_time(work, monkeypatch):
    monkeypatch.setattr(fetches, "MOST_WITH_PHASES", 1)
    fetched(work, "quick.example", first_byte=1.0)
    fetched(work, "slow.example", first_byte=1000.0)
    work.sample()
    assert [key for type, key in recorded() if type == "fetch.first_byte"] == ["slow.example"]


def test_a_host_that_fails_at_once_has_its_name_before_one_that_works(work, monkeypatch):
    monkeypatch.setattr(fetches, "MOST_HOSTS", 1)
    fetched(work, "good.example", first_byte=100.0)
    fetched(work, "other.example", first_byte=100.0)
    failed(work, "bad.example", dns=1.0)
    work.sample()
    found = {key: one.count for (type, key), one in recorded().items() if type == "fetch"}
    assert found == {"bad.example": 1, OTHER: 2}


def test_of_too_many_hosts_the_last_count_together(work, monkeypatch):
    monkeypatch.setattr(fetches, "MOST_GATHERED", 2)
    for number in range(4):
        failed(work, f"host-{number}.example", wait=1.0)
    work.sample()
    found = recorded()
    assert found[Name("fetch.failed", OTHER)].count == 2


def test_the_card_shows_each_host_with_its_failures_phases_and_limits(work):
    fetched(work, dns=2.0, first_byte=18.0)
    failed(work, wait=20.0)
    work.sample()
    tell()
    Domain.objects.create(host="x.example", concurrency=3, crawl_delay=2, next_at=timezone.now())
    (host,) = cells(content(), "hosts")
    assert host["p50"] == pytest.approx(20, rel=0.05)
    assert (host["failed"], host["dns"], host["first_byte"]) == (50, 1, 9)
    assert (host["concurrency"], host["delay"], host["circuit"]) == (3, 2, "closed")
    assert cells(content(), "errors") == [{"host": "x.example", "code": "timeout", "attempts": 1}]


def test_hosts_that_take_the_same_time_keep_their_order(work):
    names = [f"{letter}.example" for letter in "cadb"]
    for name in names:
        fetched(work, name, first_byte=10.0)
        failed(work, name)
    work.sample()
    tell()
    for table in ("hosts", "errors"):
        assert [line["host"] for line in cells(content(), table)] == sorted(names)


def test_of_attempts_that_come_to_no_fetch_no_more_than_all_fail(work):
    for _ in range(3):
        failed(work, error=RobotsDenied(), robots=1.0)
    fetched(work, first_byte=20.0)
    work.sample()
    tell()
    (host,) = cells(content(), "hosts")
    assert (host["host"], host["failed"]) == ("x.example", 75)


def test_a_host_of_which_nothing_can_be_fetched_is_shown_among_the_others(work):
    failed(work, "closed.example", error=RobotsDenied(), robots=1.0)
    fetched(work, first_byte=20.0)
    work.sample()
    tell()
    first, last = cells(content(), "hosts")
    assert first["host"] == "x.example"
    assert (last["host"], last["failed"], last["p50"]) == ("closed.example", 100, None)


def test_of_all_hosts_together_the_share_is_that_of_all_attempts(work):
    for number in range(4):
        claim = new_claim()
        ended = failure(claim, RobotsDenied(), phases(claim, robots=1.0))
        if number == 0:
            ended = succeeded(claim, first_byte=20.0)
        work.ended(claim, ended)
        queue.ended(claim, ended)
    work.sample()
    tell()
    assert fact(content(), "Failed").value == 75


def test_where_nothing_was_fetched_nothing_is_known_of_fetches(work):
    failed(work, error=RobotsDenied(), robots=1.0)
    work.sample()
    tell()
    assert fact(content(), "p50").value is None


def test_the_page_leads_from_a_host_to_its_limits(admin_client, work):
    Domain.objects.create(host="x.example", next_at=timezone.now())
    fetched(work, dns=2.0)
    work.sample()
    tell()
    page = admin_client.get("/admin/performance/domains/").content.decode()
    assert reverse("admin:jobs_domain_change", args=[quote("x.example")]) in page


def test_a_host_that_nobody_knows_has_the_limits_of_all(work):
    fetched(work, dns=2.0)
    work.sample()
    tell()
    (host,) = cells(content(), "hosts")
    assert host["circuit"] == "closed"
    assert host["concurrency"] is None or host["concurrency"] > 0


def test_a_host_that_is_left_alone_is_named(work):
    soon = timezone.now() + timedelta(minutes=1)
    Domain.objects.create(host="down.example", opened=2, failures=10, next_at=soon)
    shown = content()
    assert shown.health.level is Level.YELLOW
    assert "down.example" in shown.health.reason
    assert [row["circuit"] for row in cells(shown, "alone")] == ["open"]
    assert fact(shown, "Left alone").value == 1


def test_a_host_that_is_tried_again_is_half_open(work):
    fetched(work, dns=2.0)
    work.sample()
    tell()
    past = timezone.now() - timedelta(minutes=1)
    Domain.objects.create(host="x.example", opened=2, failures=10, next_at=past)
    assert [row["circuit"] for row in cells(content(), "hosts")] == ["half open"]


def test_a_pause_that_has_nothing_to_do_with_trouble_is_no_open_breaker():
    soon = timezone.now() + timedelta(minutes=1)
    Domain.objects.create(host="slow.example", crawl_delay=60, next_at=soon)
    assert "Submit a job" in content().empty
