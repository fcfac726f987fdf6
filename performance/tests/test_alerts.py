"""A trouble is one alert: it fires, is acknowledged, resolves, and does not flap."""

import threading
from contextlib import closing, nullcontext
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.utils import timezone

from performance.alerts import acting, evaluating
from performance.alerts.board import Board
from performance.alerts.rule import RULES, Reading, Rule, Unknown
from performance.alerts.sampling import AlertsSampler
from performance.models import Alert, AlertRule, Cursor, Severity
from performance.recording.rescue import failures
from performance.tests.alarms import NAME, only
from performance.tests.sessions import taken

pytestmark = pytest.mark.django_db


@pytest.fixture
def alarm(monkeypatch):
    return only(monkeypatch)


def states():
    return list(Alert.objects.order_by("pk").values_list("key", "state"))


def test_it_fires_when_it_has_held_for_long_enough(alarm):
    for _ in range(4):
        assert not alarm.see(10)
    [alert] = alarm.see(11)
    assert (alert.rule, alert.key, alert.state) == (NAME, "", "firing")
    assert (alert.value, alert.threshold, alert.severity) == (11, 10, Severity.PAGE)
    assert (alert.reason, alert.runbook) == ("11 of 10", "Requests fail")
    assert alert.started_at == alarm.now - timedelta(seconds=60)


def test_what_is_below_the_threshold_does_not_fire(alarm):
    for _ in range(10):
        assert not alarm.see(9.99)


def test_what_was_well_in_between_begins_anew(alarm):
    for value in (20, 20, 20, 9, 20, 20, 20, 20):
        assert not alarm.see(value)
    assert alarm.see(20)


def test_it_stays_one_alert_with_its_latest_figures(alarm):
    alarm.fire()
    [alert] = alarm.see(30)
    assert (Alert.objects.count(), alert.value, alert.reason) == (1, 30, "30 of 10")
    assert alert.last_seen_at == alarm.now


def test_it_resolves_when_it_was_well_for_long_enough(alarm):
    alarm.fire()
    for _ in range(8):
        assert alarm.see(8)
    assert not alarm.see(8)
    assert Alert.objects.get().resolved_at == alarm.now


def test_no_reading_is_well_too(alarm):
    alarm.fire()
    for _ in range(9):
        alarm.see(None)
    assert states() == [("", "resolved")]


def test_a_value_that_swings_around_the_threshold_is_one_alert(alarm):
    alarm.fire()
    for _ in range(30):
        alarm.see(9.5)
        alarm.see(5)
        alarm.see(10.5)
    assert states() == [("", "firing")]


def test_what_comes_back_after_its_end_is_another_alert(alarm):
    alarm.fire()
    alarm.end()
    alarm.fire()
    assert states() == [("", "resolved"), ("", "firing")]


def test_keys_are_alerts_of_their_own(alarm):
    alarm.values = {"a": 20, "b": 5, "c": 30}
    for _ in range(5):
        alarm.look()
    assert sorted(states()) == [("a", "firing"), ("c", "firing")]


def test_of_too_many_keys_the_worst_are_told(alarm):
    alarm.values = {f"{number}": 10.0 + number for number in range(40)}
    for _ in range(5):
        found = alarm.look()
    assert len(found) == evaluating.MOST_KEYS
    assert min(one.value for one in found) == 30


def test_an_open_alert_is_no_other_because_many_others_are_worse_at_times(alarm):
    for number in range(30):
        alarm.values = {f"{key}": 20.0 + (key + number) % 40 for key in range(40)}
        alarm.look()
    assert len(states()) >= evaluating.MOST_KEYS
    assert {state for _, state in states()} == {"firing"}


def test_what_cannot_be_told_changes_nothing(alarm):
    alarm.fire()
    alarm.error = Unknown()
    for _ in range(20):
        alarm.look()
    assert states() == [("", "firing")]


@pytest.mark.parametrize("block", [nullcontext, partial(transaction.atomic, savepoint=False)])
def test_a_rule_that_fails_changes_nothing_and_harms_no_other(alarm, monkeypatch, block):
    failures.clear()
    other = Rule("other", "Other", "", lambda now: [Reading("", 5, "five")], 1, "number",
                 Severity.TICKET, "Requests fail", holds_for=0)  # fmt: skip
    alarm.fire()
    monkeypatch.setitem(RULES, "other", other)

    def fail(now):
        with block(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")

    monkeypatch.setitem(RULES, NAME, Rule(**fields(alarm.rule) | {"measure": fail}))
    for _ in range(20):
        alarm.look()
    assert sorted(Alert.objects.values_list("rule", "state")) == [
        ("other", "firing"),
        (NAME, "firing"),
    ]
    assert failures[f"alert {NAME}"] == 20


def test_what_was_well_before_it_could_not_be_told_has_to_be_well_again(alarm):
    alarm.fire()
    alarm.see(0)
    alarm.error = Unknown()
    for _ in range(10):
        alarm.look()
    alarm.error = None
    for _ in range(8):
        assert alarm.see(0)
    assert not alarm.see(0)


def test_what_there_is_no_time_to_look_at_changes_nothing(alarm, monkeypatch):
    alarm.fire()
    monkeypatch.setattr(evaluating, "LONGEST_LOOK", 0.0)
    alarm.end()
    assert states() == [("", "firing")]


def test_pages_are_looked_at_before_tickets(alarm, monkeypatch):
    seen = []

    def noting(name):
        def measure(now):
            seen.append(name)
            return []

        return measure

    for name, severity in (("ticket", "ticket"), ("page", "page"), ("digest_lag", "ticket")):
        changes = {"name": name, "severity": Severity(severity), "measure": noting(name)}
        monkeypatch.setitem(RULES, name, Rule(**fields(alarm.rule) | changes))
    monkeypatch.delitem(RULES, NAME)
    alarm.look()
    assert seen == ["digest_lag", "page", "ticket"]


def test_after_a_pause_nobody_knows_what_was_meanwhile(alarm):
    alarm.see(20)
    assert not alarm.see(20, after=600)
    for _ in range(4):
        found = alarm.see(20)
    assert found


def test_an_acknowledged_alert_stays_so_until_it_ends(alarm):
    alert = alarm.fire()
    user = User.objects.create(username="ada")
    assert acting.acknowledge(alert_id=alert.pk, user=user, now=alarm.now)
    assert not acting.acknowledge(alert_id=alert.pk, user=user, now=alarm.now)
    [alert] = alarm.see(20)
    assert (alert.state, alert.acknowledged_by) == ("acknowledged", user)
    alarm.end()
    alert.refresh_from_db()
    assert (alert.state, alert.acknowledged_by) == ("resolved", user)


def test_a_rule_that_is_switched_off_ends_its_alerts_and_raises_none(alarm):
    alarm.fire()
    AlertRule.objects.filter(name=NAME).update(is_enabled=False)
    assert not alarm.see(20)
    assert "switched off" in Alert.objects.get().reason
    for _ in range(10):
        assert not alarm.see(20)


def test_staff_change_threshold_and_severity(alarm):
    alarm.see(0)
    AlertRule.objects.filter(name=NAME).update(threshold=50, severity=Severity.TICKET)
    for _ in range(10):
        assert not alarm.see(49)
    for _ in range(5):
        found = alarm.see(50)
    assert (found[0].severity, found[0].threshold) == (Severity.TICKET, 50)


def fields(rule):
    return {name: getattr(rule, name) for name in Rule.__slots__}


def test_all_other_rules_wait_while_the_console_is_blind(alarm, monkeypatch):
    alarm.fire()
    behind = [90.0]
    blind = Rule("digest_lag", "Blind", "", lambda now: [Reading("", behind[0], "old")], 60.0,
                 "seconds", Severity.PAGE, "The console is blind", is_live=True)  # fmt: skip
    live = Rule(**fields(alarm.rule) | {"name": "live", "is_live": True})
    monkeypatch.setitem(RULES, "digest_lag", blind)
    monkeypatch.setitem(RULES, "live", live)
    for _ in range(20):
        alarm.see(0)
    assert sorted(Alert.objects.values_list("rule", "state")) == [
        ("digest_lag", "firing"),
        (NAME, "firing"),
    ]
    for _ in range(5):
        alarm.see(20)
    assert Alert.objects.filter(rule="live", state="firing").exists()
    behind[0] = 0.0
    alarm.end()
    assert not Alert.objects.exclude(state="resolved").exists()


def test_the_console_is_blind_before_processes_seem_silent_whatever_the_threshold(
    alarm, monkeypatch
):
    behind = [Reading("", 31.0, "old")]
    blind = Rule("digest_lag", "Blind", "", lambda now: behind, 60.0, "seconds",
                 Severity.PAGE, "The console is blind", is_live=True)  # fmt: skip
    monkeypatch.setitem(RULES, "digest_lag", blind)
    alarm.see(20)
    AlertRule.objects.filter(name="digest_lag").update(threshold=600)
    for _ in range(10):
        assert not alarm.see(20)


def test_the_console_is_blind_while_it_cannot_tell_how_old_its_figures_are(alarm, monkeypatch):
    def unknown(now):
        raise Unknown

    blind = Rule(**fields(alarm.rule) | {"name": "digest_lag", "measure": unknown})
    alarm.fire()
    monkeypatch.setitem(RULES, "digest_lag", blind)
    alarm.end()
    assert states() == [("", "firing")]


@pytest.mark.django_db(transaction=True)
def test_whoever_acknowledges_does_not_wait_for_what_is_measured(alarm, monkeypatch):
    alarm.fire()
    locked = []

    def measure(now):
        with closing(connection.copy()) as other, other.cursor() as cursor:
            cursor.execute("SELECT id FROM performance_alert FOR UPDATE NOWAIT")
            locked.extend(cursor.fetchall())
        return [Reading("", 20, "twenty")]

    monkeypatch.setitem(RULES, NAME, Rule(**fields(alarm.rule) | {"measure": measure}))
    alarm.look()
    assert len(locked) == 1


def test_no_statement_of_a_look_takes_long(alarm, monkeypatch):
    limits = []

    def measure(now):
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            limits.extend(cursor.fetchone())
        return []

    monkeypatch.setitem(RULES, NAME, Rule(**fields(alarm.rule) | {"measure": measure}))
    assert evaluating.take_turn(alarm.now)
    assert limits == ["1s"]


def test_one_process_evaluates_for_the_fleet(alarm):
    with taken("performance.alerts"):
        assert not evaluating.take_turn(alarm.now)
    assert evaluating.take_turn(alarm.now)


def test_what_was_just_evaluated_is_not_evaluated_again(alarm):
    assert evaluating.take_turn(alarm.now)
    assert not evaluating.take_turn(alarm.now + timedelta(seconds=5))
    assert evaluating.take_turn(alarm.now + timedelta(seconds=15))


@pytest.mark.django_db(transaction=True)
def test_two_evaluators_at_once_raise_one_alert(alarm, monkeypatch):
    together = threading.Barrier(2, timeout=10)
    monkeypatch.setitem(RULES, NAME, Rule(**fields(alarm.rule) | {"holds_for": 0.0}))
    alarm.values = {"": 20}
    trouble = []
    judge = evaluating.Evaluation.judge

    def judge_together(*given):
        # Both have read that nothing is open.
        together.wait()
        judge(*given)

    monkeypatch.setattr(evaluating.Evaluation, "judge", judge_together)

    def evaluate():
        try:
            evaluating.evaluate(Board(), alarm.now)
        except Exception as error:
            trouble.append(error)
        finally:
            connections.close_all()

    # The rows that every evaluation makes sure of are there already.
    AlertRule.objects.create(name=NAME)
    Cursor.objects.create(name="alerts", position="{}")
    threads = [threading.Thread(target=evaluate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not trouble
    assert states() == [("", "firing")]


def test_an_evaluation_of_all_rules_asks_few_queries(django_assert_max_num_queries):
    AlertsSampler().sample()
    with django_assert_max_num_queries(30):
        evaluating.evaluate(Board.read(), timezone.now())


def test_the_sampler_evaluates_every_rule_there_is():
    failures.clear()
    AlertsSampler().sample()
    assert {line["name"] for line in Board.read().lines} == set(RULES)
    assert AlertRule.objects.count() == len(RULES)
    assert not {name for name in failures if name.startswith("alert ")}
