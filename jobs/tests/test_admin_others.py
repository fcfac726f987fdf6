"""Clients, keys, hosts, schedules and webhooks in the admin: what staff can do, and may not."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest
from django.utils import timezone

from jobs.admin.webhooks import pause
from jobs.engine.schedules import create_schedule
from jobs.models import Batch, Client, Delivery, DeliveryAttempt, Domain
from jobs.services import find_client
from jobs.tests.admins import browser_of, page_of, said
from jobs.webhooks.endpoints import register_endpoint, remove_endpoint


@pytest.fixture
def mine(tenant):
    return tenant.client


@pytest.fixture
def hook(mine):
    return register_endpoint(client=mine, url="https://hook.example/", events=["job.failed"])


@pytest.fixture
def delivery(mine, hook):
    now = timezone.now()
    return Delivery.objects.create(
        id=mine.id,
        endpoint=hook,
        event="job.failed",
        subject=mine.id,
        status="given_up",
        attempts=9,
        next_attempt_at=now - timedelta(days=1),
        created_at=now,
    )


@pytest.fixture
def schedule(mine):
    values = {"name": "nightly", "cron": "0 3 * * *", "template": {"url": "http://a.example/"}}
    return create_schedule(client=mine, now=timezone.now(), values=values)


@pytest.fixture
def domain(db):
    return Domain.objects.create(
        host="a.example",
        failures=12,
        opened=2,
        penalty=8,
        crawl_delay=3,
        next_at=timezone.now() + timedelta(minutes=5),
    )


def press(browser, kind, row, name):
    return browser.post(f"/admin/jobs/{kind}/{row.pk}/act/{name}/")


def history(row):
    return [one.change_message for one in LogEntry.objects.filter(object_id=str(row.pk))]


def test_a_new_key_is_shown_once_and_works(admin_client, mine):
    response = press(admin_client, "client", mine, "create-key")
    (key,) = re.findall(r"scr_\w+", response.content.decode())
    assert find_client(key) == mine
    assert "no-store" in response.headers["Cache-Control"]
    assert key not in page_of(admin_client, f"client/{mine.id}/change/")
    (told,) = history(mine)
    assert told.startswith("Created the key ")
    assert key not in told


def test_whoever_may_only_change_clients_cannot_create_keys(mine):
    staff = browser_of("view_client", "change_client")
    assert press(staff, "client", mine, "create-key").status_code == 403
    assert mine.keys.count() == 1


def test_a_revoked_key_opens_nothing(admin_client, tenant, mine):
    key = mine.keys.get()
    assert find_client(tenant.key) == mine
    assert said(press(admin_client, "apikey", key, "revoke")) == "1 revoked."
    key.refresh_from_db()
    assert key.revoked_at
    assert history(key) == ["Revoked."]
    assert said(press(admin_client, "apikey", key, "revoke")) == (
        "0 revoked. 1 had been revoked already."
    )


def test_whoever_may_only_view_keys_cannot_revoke_them(mine):
    key = mine.keys.get()
    assert press(browser_of("view_apikey"), "apikey", key, "revoke").status_code == 403


def form_of(client, **changes):
    return {
        "name": client.name,
        "owner": client.owner_id,
        "is_active": "on",
        "max_running": "",
        "max_results": "",
        "keys-TOTAL_FORMS": 0,
        "keys-INITIAL_FORMS": 0,
    } | changes


def test_quotas_are_set_and_what_the_engine_has_noted_meanwhile_stays(
    admin_client, mine, monkeypatch
):
    noted = timezone.now()
    clean = Client.full_clean

    def engine_writes(self, *arguments, **options):
        Client.objects.filter(id=mine.id).update(quota_reached_at=noted)
        return clean(self, *arguments, **options)

    monkeypatch.setattr(Client, "full_clean", engine_writes)
    address = f"/admin/jobs/client/{mine.id}/change/"
    assert admin_client.post(address, form_of(mine, max_running=5)).status_code == 302
    mine.refresh_from_db()
    assert (mine.max_running, mine.quota_reached_at) == (5, noted)


def test_a_client_is_added(admin_client, mine):
    data = form_of(mine, name="another")
    assert admin_client.post("/admin/jobs/client/add/", data).status_code == 302
    assert Client.objects.filter(name="another", owner=mine.owner).exists()


def test_a_host_is_forgiven_and_keeps_what_its_robots_txt_asks_for(admin_client, domain):
    assert "breaker open" in page_of(admin_client, "domain/?trouble=open")
    assert said(press(admin_client, "domain", domain, "forgive")) == "1 forgiven."
    domain.refresh_from_db()
    assert (domain.failures, domain.opened, domain.penalty) == (0, 0, 0)
    assert domain.next_at <= timezone.now()
    assert domain.crawl_delay == 3
    assert history(domain) == ["Breaker closed, penalty forgotten."]
    assert said(press(admin_client, "domain", domain, "forgive")) == (
        "0 forgiven. 1 were in no trouble."
    )


def test_whoever_may_only_view_hosts_cannot_forgive_them(domain):
    assert press(browser_of("view_domain"), "domain", domain, "forgive").status_code == 403


def test_a_hosts_limits_are_set_and_its_state_stays(admin_client, domain):
    address = f"/admin/jobs/domain/{domain.pk}/change/"
    page_of(admin_client, f"domain/{domain.pk}/change/")
    response = admin_client.post(address, {"concurrency": 3, "delay": "0.5", "failures": 0})
    assert response.status_code == 302
    domain.refresh_from_db()
    assert (domain.concurrency, domain.delay, domain.failures) == (3, 0.5, 12)


def test_a_host_is_added_in_its_canonical_spelling(admin_client, db):
    data = {"host": "Shop.EXAMPLE", "concurrency": 1, "delay": ""}
    assert admin_client.post("/admin/jobs/domain/add/", data).status_code == 302
    assert Domain.objects.get().host == "shop.example"


@pytest.mark.parametrize(
    "values",
    [
        *({"host": "no host"}, {"host": "a.example/path"}, {"host": "a.example:8080"}),
        *({"delay": "-1"}, {"delay": "inf"}, {"delay": "nan"}),
    ],
)
def test_a_host_with_nonsense_is_refused(admin_client, db, values):
    data = {"host": "a.example", "concurrency": "", "delay": ""} | values
    assert admin_client.post("/admin/jobs/domain/add/", data).status_code == 200
    assert not Domain.objects.exists()


def test_a_schedule_is_paused_and_resumed(admin_client, schedule):
    assert said(press(admin_client, "schedule", schedule, "pause")) == "1 paused."
    assert "none: paused" in page_of(admin_client, f"schedule/{schedule.id}/change/")
    assert said(press(admin_client, "schedule", schedule, "pause")) == (
        "0 paused. 1 were paused already."
    )
    assert said(press(admin_client, "schedule", schedule, "resume")) == "1 resumed."
    page = page_of(admin_client, f"schedule/{schedule.id}/change/")
    assert page.count(" 03:00:00<br>") == 5
    assert sorted(history(schedule)) == ["Paused.", "Resumed."]


def test_whoever_may_only_view_schedules_cannot_pause_them(schedule):
    assert press(browser_of("view_schedule"), "schedule", schedule, "pause").status_code == 403


def test_an_endpoint_is_paused_and_resumed(admin_client, hook):
    assert said(press(admin_client, "webhookendpoint", hook, "pause")) == "1 paused."
    hook.refresh_from_db()
    assert not hook.is_active
    assert said(press(admin_client, "webhookendpoint", hook, "resume")) == "1 resumed."
    assert sorted(history(hook)) == ["Paused.", "Resumed."]


def test_what_was_removed_before_an_act_is_left_and_the_others_are_not(hook, mine):
    other = register_endpoint(client=mine, url="https://other.example/", events=["job.failed"])
    remove_endpoint(client=mine, endpoint_id=hook.id)
    outcome = pause(HttpRequest(), [hook, other])
    assert outcome.done == [(other, "Paused.")]
    assert outcome.left == {"were removed meanwhile": 1}


def test_a_delivery_is_sent_again(admin_client, delivery):
    assert said(press(admin_client, "delivery", delivery, "replay")) == "1 will be sent."
    delivery.refresh_from_db()
    assert delivery.status == "pending"
    assert delivery.next_attempt_at > timezone.now() - timedelta(minutes=1)
    assert history(delivery) == ["Asked to be sent once more."]


def test_nothing_is_sent_to_an_endpoint_that_is_paused(admin_client, hook, delivery):
    press(admin_client, "webhookendpoint", hook, "pause")
    assert said(press(admin_client, "delivery", delivery, "replay")) == (
        "0 will be sent. 1 not sent: the endpoint is paused."
    )


def test_whoever_may_only_view_deliveries_cannot_send_them(delivery):
    assert press(browser_of("view_delivery"), "delivery", delivery, "replay").status_code == 403


def test_deliveries_are_found_by_status_and_endpoint(admin_client, hook, delivery):
    assert str(delivery.id) in page_of(admin_client, "delivery/?status=given_up")
    assert str(delivery.id) not in page_of(admin_client, "delivery/?status=pending")
    assert str(delivery.id) in page_of(admin_client, f"delivery/?endpoint__id__exact={hook.id}")


def test_a_delivery_shows_every_try(admin_client, delivery):
    DeliveryAttempt.objects.create(
        delivery=delivery, number=1, at=timezone.now(), milliseconds=3, error="It answered 500."
    )
    assert "It answered 500." in page_of(admin_client, f"delivery/{delivery.id}/change/")


def test_a_batch_says_how_far_it_is(admin_client, mine):
    batch = Batch.objects.create(client=mine, total=4000, ended=1500)
    assert '<progress max="4000" value="1500">' in page_of(admin_client, "batch/")
    assert "1,500 of 4,000 ended" in page_of(admin_client, f"batch/{batch.id}/change/")
