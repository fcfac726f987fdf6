"""Alerts as staff see them: the card, the page of one, the runbooks, and the admin."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from performance.alerts import evaluating, notices
from performance.cards import alerts
from performance.cards.alerts import AlertsCard
from performance.cards.shapes import Level
from performance.models import Alert, AlertChannel, AlertNotice, AlertRule, Cursor, Severity
from performance.storage.reading import Scope
from performance.tests.alarms import NAME, mailbox, only
from performance.tests.telling import cells, fact

pytestmark = pytest.mark.django_db


@pytest.fixture
def alarm(monkeypatch):
    return only(monkeypatch)


@pytest.fixture
def now(alarm):
    """As `alarm`, in the present."""
    alarm.now = timezone.now() - timedelta(seconds=75)
    return alarm


def content(scope=None):
    return AlertsCard().content(scope or Scope())


def text(response):
    assert response.status_code == 200
    return response.content.decode()


def said(response):
    return [str(one) for one in get_messages(response.wsgi_request)]


def browser_of(*permissions):
    staff = User.objects.create(username="bob", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Browser()
    browser.force_login(staff)
    return browser


def test_the_card_is_red_when_nobody_evaluates(now):
    assert content().health.level == Level.RED
    now.see(0)
    assert content().health.level == Level.RED
    Cursor.objects.all().delete()
    now.see(0, after=60)
    assert (content().health.level, content().health.reason) == (Level.GREEN, "nothing fires")


def test_a_page_is_red_a_ticket_is_yellow_and_what_somebody_looks_after_too(now, admin_user):
    now.fire(key="web/1")
    assert (content().health.level, content().health.reason) == (Level.RED, "Trouble: 20 of 10")
    [row] = cells(content(), "open")
    assert (row["alert"], row["key"], row["state"]) == ("Trouble", "web/1", "firing")
    Alert.objects.update(severity=Severity.TICKET)
    assert content().health.level == Level.YELLOW
    Alert.objects.update(
        state="acknowledged", acknowledged_by=admin_user, acknowledged_at=timezone.now()
    )
    assert content().health.reason == "1 acknowledged, nothing else fires"
    assert cells(content(), "open")[0]["who"] == "admin"
    assert fact(content(), "Firing").value == 0


def test_what_has_ended_is_history(now):
    now.now -= timedelta(minutes=10)
    now.fire()
    now.end()
    [row] = cells(content(), "past")
    assert row["lasted"] == 195
    assert max(content().charts[0].lines[0].values) == 1
    assert cells(content(), "open") == []


def test_what_began_before_the_window_and_ended_in_it_is_history(now):
    alert = now.fire()
    now.end()
    ended = timezone.now() - timedelta(minutes=30)
    Alert.objects.update(started_at=ended - timedelta(hours=2), resolved_at=ended)
    shown = content()
    assert [row["since"] for row in cells(shown, "past")] == [ended - timedelta(hours=2)]
    assert fact(shown, "Ended in this window").value == 1
    curve = shown.charts[0].lines[0].values
    assert set(curve[:29]) == {1}
    assert set(curve[31:]) == {0}
    Alert.objects.filter(pk=alert.pk).update(resolved_at=ended - timedelta(hours=1))
    assert fact(content(), "Ended in this window").value == 0


def test_more_than_a_table_shows_is_counted(now, monkeypatch):
    monkeypatch.setattr(alerts, "MOST", 1)
    alert = now.fire(key="a")
    for key in ("b", "c"):
        alert.pk, alert.key = None, key
        alert.save()
    shown = content()
    assert len(cells(shown, "open")) == 1
    assert fact(shown, "Firing").value == 3
    assert "(and 2 more)" in shown.health.reason


def test_what_fires_is_shown_before_what_somebody_looks_after(now):
    now.fire(key="a")
    Alert.objects.update(state="acknowledged")
    now.fire(key="b")
    Alert.objects.filter(key="b").update(severity=Severity.TICKET)
    assert [row["key"] for row in cells(content(), "open")] == ["b", "a"]


def test_every_rule_is_shown_with_its_value_against_its_threshold(now):
    now.see(5)
    [row] = cells(content(), "rules")
    assert (row["rule"], row["value"], row["limit"], row["share"]) == ("Trouble", "5", "10", 50)
    assert row["state"] == "fine"
    AlertRule.objects.update(is_enabled=False)
    now.see(5)
    assert cells(content(), "rules")[0]["state"] == "switched off"


def test_channels_say_whether_they_work(now):
    assert "Nobody is told" in content().note
    mailbox()
    now.fire()
    [row] = cells(content(), "channels")
    assert (row["waiting"], row["told"], content().note) == (1, 0, "")
    [notice] = notices.claim(["email"], timezone.now())
    notices.record(notice, "no such user", timezone.now(), is_final=True)
    [row] = cells(content(), "channels")
    assert (row["given_up"], row["error"]) == (1, "no such user")
    assert cells(content(), "open")[0]["untold"] == 1


def test_in_brief_it_has_no_tables(now):
    now.fire()
    brief = content(Scope(is_brief=True))
    assert brief.health == content().health
    assert not brief.tables


def test_the_page_of_alerts_has_the_card(admin_client):
    evaluating.take_turn(timezone.now())
    page = text(admin_client.get(reverse("console:page", args=["alerts"])))
    assert "Requests fail, 14.4 times faster than the objective allows" in page


def test_an_alert_has_a_page_with_what_is_known_of_it(alarm, admin_client):
    mailbox()
    alert = alarm.fire(key="web/1")
    page = text(admin_client.get(reverse("console:alert", args=[alert.pk])))
    for part in ("Trouble: web/1", "20 of 10.", "Something is wrong.", "staff@example.org"):
        assert part in page
    assert reverse("console:runbook", args=["requests-fail"]) in page


def test_nobody_reads_in_the_console_what_lets_them_post_to_a_webhook(alarm, admin_client):
    mailbox(kind="webhook", target="https://hooks.example.org/services/T0/s3cret?key=s3cret")
    alert = alarm.fire()
    for address in (
        reverse("console:alert", args=[alert.pk]),
        reverse("console:alert", args=[alert.pk]) + "?csv=1",
        reverse("console:page", args=["alerts"]),
        reverse("console:table", args=["alerts", "channels"]),
        reverse("admin:performance_alert_change", args=[alert.pk]),
    ):
        page = text(admin_client.get(address))
        assert "https://hooks.example.org" in page
        assert "s3cret" not in page


def test_who_was_told_is_had_as_csv(alarm, admin_client):
    mailbox()
    address = reverse("console:alert", args=[alarm.fire().pk])
    keys, row = text(admin_client.get(address, {"csv": 1})).splitlines()
    assert keys == "channel,state,told_at,attempts,next_attempt_at,error"
    assert row.startswith("staff@example.org,firing,,0,")


def test_it_is_acknowledged_with_who_and_when(alarm, admin_client, admin_user):
    alert = alarm.fire()
    address = reverse("console:alert", args=[alert.pk])
    response = admin_client.post(address, {"acknowledge": "1"})
    assert response.url == address
    alert.refresh_from_db()
    assert (alert.state, alert.acknowledged_by) == ("acknowledged", admin_user)
    assert LogEntry.objects.get().object_repr == f"alert {alert.pk}"
    assert "somebody was faster" in said(admin_client.post(address, {"acknowledge": "1"}))[-1]


def test_a_rule_is_silenced_for_hours_and_heard_again(alarm, admin_client):
    alert = alarm.fire()
    address = reverse("console:alert", args=[alert.pk])
    admin_client.post(address, {"silence": "4"})
    until = AlertRule.objects.get(name=NAME).silenced_until
    assert until
    left = until - timezone.now()
    assert timedelta(hours=3.9) < left <= timedelta(hours=4)
    assert "nobody is told" in text(admin_client.get(address))
    admin_client.post(address, {"silence": "0"})
    assert AlertRule.objects.get(name=NAME).silenced_until is None
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize("data", [{}, {"silence": "5"}, {"silence": "-1"}])
def test_what_is_no_act_is_refused(alarm, admin_client, data):
    alert = alarm.fire()
    assert admin_client.post(reverse("console:alert", args=[alert.pk]), data).status_code == 400


def test_who_may_only_look_may_not_act(alarm):
    alert = alarm.fire()
    address = reverse("console:alert", args=[alert.pk])
    browser = browser_of("view_console")
    assert "Acknowledge" not in text(browser.get(address))
    assert browser.post(address, {"acknowledge": "1"}).status_code == 403
    alert.refresh_from_db()
    assert alert.state == "firing"


def test_who_may_not_see_the_console_sees_no_alert(alarm):
    address = reverse("console:alert", args=[alarm.fire().pk])
    browser = browser_of("view_alert")
    assert browser.get(address).status_code == 403
    assert browser.get(reverse("console:runbook", args=["a-test"])).status_code == 403


def test_a_runbook_is_a_page(admin_client):
    page = text(admin_client.get(reverse("console:runbook", args=["requests-fail"])))
    assert "requests_burn_fast" in page
    assert "jobs_burn_fast" not in page
    assert admin_client.get(reverse("console:runbook", args=["no"])).status_code == 404


def test_all_rules_are_in_the_admin_before_any_evaluation(admin_client):
    page = text(admin_client.get(reverse("admin:performance_alertrule_changelist")))
    assert "Jobs wait too long" in page
    assert AlertRule.objects.filter(name="queue_age").exists()


def test_a_rule_is_changed_in_the_admin_with_its_history(alarm, admin_client):
    alarm.see(0)
    address = reverse("admin:performance_alertrule_change", args=[NAME])
    assert "Something is wrong." in text(admin_client.get(address))
    admin_client.post(address, {"threshold": "30", "severity": "ticket"})
    rule = AlertRule.objects.get(name=NAME)
    assert (rule.is_enabled, rule.threshold, rule.severity) == (False, 30, "ticket")
    assert LogEntry.objects.get().object_id == NAME
    assert admin_client.get(reverse("admin:performance_alertrule_add")).status_code == 403


def test_alerts_are_read_only_in_the_admin(alarm, admin_client):
    mailbox()
    alert = alarm.fire()
    assert "20 of 10" in text(admin_client.get(reverse("admin:performance_alert_changelist")))
    address = reverse("admin:performance_alert_change", args=[alert.pk])
    assert "staff@example.org" in text(admin_client.get(address))
    assert admin_client.post(address, {"state": "resolved"}).status_code == 403


NOTICES = {
    f"notices-{name}": value for name, value in (("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0))
}  # fmt: skip


def add(browser, **data):
    form = {"severity": "ticket", "is_enabled": "on", **NOTICES, **data}
    return browser.post(reverse("admin:performance_alertchannel_add"), form)


def test_a_webhook_gets_a_secret_that_is_shown_once(admin_client):
    response = add(admin_client, kind="webhook", target="https://example.org/alerts")
    channel = AlertChannel.objects.get()
    assert f"whsec_{channel.secret}" in " ".join(said(response))
    address = reverse("admin:performance_alertchannel_change", args=[channel.pk])
    admin_client.get(address)
    assert channel.secret not in text(admin_client.get(address))


def test_the_form_of_a_channel_says_which_addresses_it_takes(admin_client):
    page = text(admin_client.get(reverse("admin:performance_alertchannel_add")))
    assert "https, unless nobody may listen on the way" in page
    add(admin_client, kind="webhook", target="http://alerts.example.org/")
    assert AlertChannel.objects.get().target == "http://alerts.example.org/"


@pytest.mark.parametrize(
    ("kind", "target"),
    [("email", "nobody"), ("email", "https://example.org"), ("webhook", "ftp://example.org"),
     ("webhook", "staff@example.org")],
)  # fmt: skip
def test_a_target_that_cannot_be_told_is_refused(admin_client, kind, target):
    assert "errorlist" in text(add(admin_client, kind=kind, target=target))
    assert not AlertChannel.objects.exists()


def act(browser, action, *channels):
    data = {"action": action, "_selected_action": [one.pk for one in channels]}
    return browser.post(reverse("admin:performance_alertchannel_changelist"), data)


def test_a_test_is_sent_from_the_admin(admin_client):
    channel = mailbox()
    assert "1 tests are on their way" in said(act(admin_client, "send_a_test", channel))[-1]
    notice = AlertNotice.objects.get()
    assert (notice.channel, notice.alert.rule) == (channel, "test")
    address = reverse("admin:performance_alertchannel_change", args=[channel.pk])
    assert "test channel" in text(admin_client.get(address))


def test_a_secret_is_renewed(admin_client):
    channel = mailbox(kind="webhook", target="https://example.org/", secret="b2xk")
    response = act(admin_client, "renew_secret", channel)
    channel.refresh_from_db()
    assert channel.secret != "b2xk"
    assert channel.secret in said(response)[-1]


def test_who_may_only_see_channels_sends_no_test():
    channel = mailbox()
    act(browser_of("view_alertchannel"), "send_a_test", channel)
    assert not AlertNotice.objects.exists()
