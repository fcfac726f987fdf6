"""Who is told of an alert: by mail and webhook, once, however long it takes to reach them."""

import asyncio
import json
import smtplib
import threading
from contextlib import closing
from datetime import timedelta
from typing import ClassVar

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.utils import timezone

from jobs.conf import job_settings
from jobs.webhooks.signing import new_secret, signed_headers
from jobs.webhooks.tests.receivers import Bench, answering
from performance.alerts import acting, delivering, messages, notices
from performance.alerts.sampling import NoticesSampler
from performance.conf import performance_settings
from performance.models import Alert, AlertChannel, AlertNotice, AlertRule, Severity
from performance.tests.alarms import NAME, mailbox, only

pytestmark = pytest.mark.django_db(transaction=True)

WORKER, WEB = delivering.kinds_for("worker"), delivering.kinds_for("web")
FROM = "alerts@scraper.example"


class Broken(EmailBackend):
    """A mail server that refuses everybody."""

    def send_messages(self, messages):
        raise smtplib.SMTPRecipientsRefused({"staff@example.org": (550, b"unknown")})


@pytest.fixture
def alarm(monkeypatch):
    return only(monkeypatch)


@pytest.fixture(autouse=True)
def _with_mail(settings):
    settings.PERFORMANCE = settings.PERFORMANCE | {"mail_from": FROM}
    performance_settings.cache_clear()
    yield
    performance_settings.cache_clear()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def webhook(bench, settings):
    """A channel to the receiver, which workers may reach."""
    settings.JOBS = settings.JOBS | {"allowed_addresses": (f"127.0.0.1:{bench.receiver.port}",)}
    job_settings.cache_clear()
    yield mailbox(kind="webhook", target=bench.receiver.url(), secret=new_secret())
    job_settings.cache_clear()


def deliver(kinds=WORKER, after=0.0):
    return delivering.deliver(kinds, timezone.now() + timedelta(seconds=after))


def posted(bench, kinds=WORKER, after=0.0):
    """What the receiver was sent; its loop runs in another thread meanwhile."""

    def work():
        with closing(connection):
            deliver(kinds, after)

    bench.run(asyncio.to_thread(work))
    return bench.receiver.messages


def seconds_until_next():
    """How long the only notice's next try is away."""
    at = AlertNotice.objects.get().next_attempt_at
    assert at
    return (at - timezone.now()).total_seconds()


def test_a_mail_says_what_since_when_how_much_what_it_means_and_where_to_read_on(alarm, settings):
    settings.PERFORMANCE = settings.PERFORMANCE | {"public_url": "https://scraper.example/"}
    performance_settings.cache_clear()
    mailbox()
    alert = alarm.fire(key="web/1")
    assert deliver() == 1
    [message] = mail.outbox
    assert (message.subject, message.from_email) == ("[page] Trouble (web/1)", FROM)
    assert message.to == ["staff@example.org"]
    assert "20 of 10." in message.body
    assert f"It began {alert.started_at:%Y-%m-%d %H:%M:%S} UTC." in message.body
    assert "Value: 20; the threshold is 10." in message.body
    assert "What it means: Something is wrong." in message.body
    assert "https://scraper.example/admin/performance/runbook/requests-fail/" in message.body
    assert f"https://scraper.example/admin/performance/alert/{alert.pk}/" in message.body


def test_without_an_address_of_ours_the_runbook_is_the_repositorys(alarm):
    mailbox()
    alarm.fire()
    deliver()
    assert "docs/operations/runbooks.md#requests-fail" in mail.outbox[0].body


def test_it_is_told_once_however_long_it_fires(alarm):
    mailbox()
    alarm.fire()
    for _ in range(5):
        alarm.see(30)
        deliver()
    assert len(mail.outbox) == 1


def test_its_end_is_told_where_it_was_told(alarm):
    mailbox()
    alarm.fire()
    deliver()
    mailbox(target="late@example.org", severity=Severity.PAGE, is_enabled=False)
    alarm.end()
    deliver()
    assert [one.subject for one in mail.outbox] == ["[page] Trouble", "[resolved] Trouble"]
    assert ", ended " in mail.outbox[1].body


def test_the_end_of_what_took_months_is_told_too(alarm):
    mailbox()
    alarm.fire()
    deliver()
    Alert.objects.update(started_at=alarm.now - timedelta(days=200))
    alarm.end()
    deliver()
    assert mail.outbox[-1].subject == "[resolved] Trouble"


def test_what_ends_before_it_could_be_told_is_told_as_over_only(alarm):
    mailbox()
    alarm.fire()
    alarm.end()
    deliver()
    assert [one.subject for one in mail.outbox] == ["[resolved] Trouble"]
    assert AlertNotice.objects.get(state="firing").error == notices.ENDED


def test_a_channel_for_pages_hears_no_tickets(monkeypatch):
    alarm = only(monkeypatch, severity=Severity.TICKET)
    mailbox(severity=Severity.PAGE)
    mailbox(target="all@example.org")
    alarm.fire()
    deliver()
    assert [one.to for one in mail.outbox] == [["all@example.org"]]


def test_a_silenced_rule_is_raised_and_told_when_the_silence_is_over(alarm):
    mailbox()
    acting.silence(rule=NAME, until=alarm.now + timedelta(minutes=5))
    assert alarm.fire().state == "firing"
    assert deliver() == 0
    while alarm.now < AlertRule.objects.get(name=NAME).silenced_until:
        alarm.see(20)
    assert deliver() == 1


def test_an_acknowledged_alert_is_not_told_to_others(alarm, admin_user):
    alert = alarm.fire()
    acting.acknowledge(alert_id=alert.pk, user=admin_user, now=alarm.now)
    mailbox()
    alarm.see(20)
    assert deliver() == 0


def test_an_acknowledged_alert_is_not_told_where_that_waited(alarm, admin_user):
    mailbox()
    alert = alarm.fire()
    acting.acknowledge(alert_id=alert.pk, user=admin_user, now=alarm.now)
    assert deliver() == 0
    assert AlertNotice.objects.get().error == notices.LOOKED_AFTER


def test_a_channel_that_is_switched_off_hears_nothing(alarm):
    channel = mailbox()
    alarm.fire()
    AlertChannel.objects.filter(pk=channel.pk).update(is_enabled=False)
    assert deliver() == 0
    assert AlertNotice.objects.get().error == notices.SWITCHED_OFF


def test_a_mail_that_is_refused_is_tried_again_and_given_up_at_last(alarm, settings):
    settings.EMAIL_BACKEND = f"{__name__}.Broken"
    mailbox()
    alarm.fire()
    after = 0.0
    for number, delay in enumerate(notices.DELAYS, start=1):
        assert deliver(after=after) == 1
        notice = AlertNotice.objects.get()
        assert (notice.attempts, notice.told_at) == (number, None)
        assert "SMTPRecipientsRefused" in notice.error
        assert seconds_until_next() > delay - 5
        after = delay + 1
    assert deliver(after=after) == 1
    assert deliver(after=10**6) == 0
    assert AlertNotice.objects.get().next_attempt_at is None


def test_a_mail_without_a_mail_server_says_what_to_set(alarm, settings):
    settings.PERFORMANCE = settings.PERFORMANCE | {"mail_from": ""}
    performance_settings.cache_clear()
    mailbox()
    alarm.fire()
    deliver()
    assert "EMAIL_HOST" in AlertNotice.objects.get().error


def test_a_webhook_is_signed_and_says_everything(alarm, bench, webhook):
    alert = alarm.fire(key="web/1")
    [message] = posted(bench)
    told = json.loads(message.body)
    assert told["type"] == "alert.firing"
    data = told["data"]
    assert (data["rule"], data["key"], data["severity"]) == (NAME, "web/1", "page")
    assert (data["value"], data["threshold"], data["reason"]) == (20, 10, "20 of 10")
    assert data["meaning"] == "Something is wrong."
    assert data["runbook"].endswith("#requests-fail")
    assert data["url"].endswith(f"/admin/performance/alert/{alert.pk}/")
    notice = AlertNotice.objects.get()
    expected = signed_headers(
        messages.message_id(notice),
        message.body,
        timestamp=int(message.headers["webhook-timestamp"]),
        secrets=[webhook.secret],
    )
    assert expected.items() <= message.headers.items()
    assert notice.told_at


def test_the_end_is_another_message(alarm, bench, webhook):
    alarm.fire()
    posted(bench)
    alarm.end()
    first, second = posted(bench)
    assert json.loads(second.body)["type"] == "alert.resolved"
    assert first.id != second.id


def test_a_receiver_that_is_down_gets_the_same_message_later(alarm, bench, webhook):
    bench.receiver.handler = answering(503)
    alarm.fire()
    [first] = posted(bench)
    assert AlertNotice.objects.get().error == "The endpoint answered 503 Service Unavailable."
    assert deliver() == 0
    bench.receiver.handler = answering(204)
    _, second = posted(bench, after=notices.DELAYS[0] + 1)
    assert first.id == second.id
    assert AlertNotice.objects.get().told_at


def test_a_receiver_that_does_not_exist_is_tried_again(alarm, bench, webhook):
    bench.run(bench.close_receiver())
    alarm.fire()
    deliver()
    assert AlertNotice.objects.get().error
    assert seconds_until_next() > 0


def test_a_receiver_that_asks_for_patience_gets_it(alarm, bench, webhook):
    bench.receiver.handler = answering(503, **{"Retry-After": "600"})
    alarm.fire()
    posted(bench)
    assert 580 < seconds_until_next() <= 600


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(alarm, bench, webhook):
    bench.receiver.handler = answering(410)
    alarm.fire()
    posted(bench)
    assert AlertNotice.objects.get().next_attempt_at is None


def test_private_addresses_are_refused(alarm, bench):
    mailbox(kind="webhook", target=bench.receiver.url(), secret=new_secret())
    alarm.fire()
    assert posted(bench) == []
    assert "does not fetch from" in AlertNotice.objects.get().error


def test_web_processes_send_mails_and_leave_webhooks_to_workers(alarm, bench, webhook):
    mailbox()
    alarm.fire()
    assert posted(bench, WEB) == []
    assert len(mail.outbox) == 1
    assert len(posted(bench)) == 1


class Looking(EmailBackend):
    """A mail server that notes what waits while it takes a mail."""

    waiting: ClassVar[list[list[str]]] = []

    def send_messages(self, messages):
        due = AlertNotice.objects.filter(next_attempt_at__lte=timezone.now())
        self.waiting.append(sorted(due.values_list("channel__kind", flat=True)))
        return len(messages)


def test_webhooks_wait_for_no_mail_and_a_mail_is_taken_on_when_its_turn_comes(
    alarm, bench, webhook, settings
):
    settings.EMAIL_BACKEND = f"{__name__}.Looking"
    for number in range(3):
        mailbox(target=f"{number}@example.org")
    alarm.fire()
    assert len(posted(bench)) == 1
    while deliver():
        pass
    assert Looking.waiting == [["email"] * 2, ["email"], []]


def test_what_one_process_tells_no_other_does_unless_it_dies(alarm):
    mailbox()
    alarm.fire()
    now = timezone.now()
    assert len(notices.claim(WORKER, now)) == 1
    assert notices.claim(WORKER, now) == []
    [again] = notices.claim(WORKER, now + notices.CLAIM)
    assert again.attempts == 2


def test_a_test_goes_the_way_of_all_alerts(admin_user):
    notice = acting.send_test(channel=mailbox(), user=admin_user, now=timezone.now())
    deliver()
    assert mail.outbox[0].subject == f"[ticket] Test (channel {notice.channel_id})"
    assert "This is a test of this channel, by admin." in mail.outbox[0].body


def test_the_sampler_tells_in_a_thread_of_its_own(alarm):
    mailbox()
    alarm.fire()
    NoticesSampler("web").sample()
    for thread in threading.enumerate():
        if thread.name == "alerts":
            thread.join(10)
    assert AlertNotice.objects.get().told_at
    assert len(mail.outbox) == 1
