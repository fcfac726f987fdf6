"""Actions on the cache, on sampling and on the queue."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from cachelayer.layer import cache_layer
from cachelayer.operations import survey
from cachelayer.policy import Policy
from cachelayer.tiered import TieredCache
from jobs.engine.queue import JobSpec, enqueue
from jobs.models import Pause
from performance.actions.caching import Clear
from performance.cards.actions import ActionsCard
from performance.cards.queue import QueueCard
from performance.cards.shapes import Level
from performance.recorders.sampling import SamplingSampler, end_override
from performance.recording.governor import LOWEST_RATE, Governor
from performance.storage.reading import Scope
from performance.tests.acting import away, done, finished, previewed, tell_queue
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _usual_sampling():
    yield
    end_override(cache_layer().remote)


def figures(response):
    return {one.label: one.value for one in response.context["preview"].figures}


def health_of(card):
    health = card.content(Scope()).health
    assert health is not None
    return health


def test_a_namespace_is_cleared_and_no_other(admin_client):
    policy = Policy(ttl=60)
    one, other = TieredCache("clear-me", policy), TieredCache("spare-me", policy)
    for number in range(3):
        one.get_or_load([number], lambda: "x")
        other.get_or_load([number], lambda: "x")
    shown = figures(previewed(admin_client, "clear", namespace="clear-me"))
    assert shown["Entries"] == 3
    assert shown["Size"] > 0
    assert survey()["clear-me"][0] == 3
    run = done(admin_client, "clear", namespace="clear-me")
    assert run.outcome == "Removed 3 entries of clear-me."
    assert "clear-me" not in survey()
    assert survey()["spare-me"][0] == 3


def test_a_pattern_is_no_namespace(admin_client):
    TieredCache("clear-me", Policy(ttl=60)).get_or_load([1], lambda: "x")
    assert (
        "is no namespace" in previewed(admin_client, "clear", namespace="clear*").context["error"]
    )
    address = reverse("console:action", args=["clear"])
    run_id = uuid4()
    admin_client.post(address, {"namespace": "clear*", "run": run_id})
    assert finished(run_id).state == "refused"
    assert "clear-me" in survey()


def test_a_namespace_without_entries_is_refused(admin_client):
    page = previewed(admin_client, "clear", namespace="nobody")
    assert "no entries of 'nobody'" in page.context["error"]


def test_of_a_namespace_that_is_cleared_the_others_are_not_looked_at(admin_client, monkeypatch):
    for name in ("clear-me", "spare-me"):
        TieredCache(name, Policy(ttl=60)).get_or_load([1], lambda: "x")
    remote = cache_layer().remote
    call, commands = remote.call, list[tuple[str, ...]]()

    def noting(*given):
        commands.extend(given)
        return call(*given)

    monkeypatch.setattr(remote, "call", noting)
    assert "spare-me" in Clear.choices()["namespace"]
    assert not [one for one in commands if one[0] == "STRLEN"]
    Clear(namespace="clear-me").preview()
    assert [one[0] for one in commands if ":spare-me:" in str(one)] == []
    assert [one[0] for one in commands if ":clear-me:" in str(one)] == ["STRLEN"]


def test_the_cache_is_warmed(admin_client):
    tenants = [make_tenant() for _ in range(3)]
    assert figures(previewed(admin_client, "warm", namespace="api-keys"))["Values"] == len(tenants)
    assert (
        done(admin_client, "warm", namespace="api-keys").outcome
        == "3 values of api-keys are there."
    )
    assert survey()["api-key"][0] >= len(tenants)


def test_what_nothing_warms_is_refused(admin_client):
    assert "api-keys" in previewed(admin_client, "warm", namespace="x").context["error"]


def test_sampling_is_set_for_the_fleet_and_for_a_time(admin_client):
    governors = [Governor(0.05), Governor(0.05)]
    samplers = [SamplingSampler(cache_layer().remote, one) for one in governors]

    def looked_at():
        for sampler, governor in zip(samplers, governors, strict=True):
            sampler.sample()
            governor.adjust()
        return {one.rate for one in governors}

    page = previewed(admin_client, "sampling", rate="0.25", minutes="10")
    assert "25 %" in page.context["preview"].says
    assert looked_at() == {1.0}
    assert done(admin_client, "sampling", rate="0.25", minutes="10").state == "done"
    assert looked_at() == {0.25}
    health = health_of(ActionsCard())
    assert (health.level, "25 %" in health.reason) == (Level.YELLOW, True)
    assert 500 < figures(previewed(admin_client, "end_sampling"))["Would last"] <= 600
    assert done(admin_client, "end_sampling").state == "done"
    looked_at()
    assert {one.fixed for one in governors} == {None}


@pytest.mark.parametrize("rate", [0, LOWEST_RATE / 2, 1.5, "much"])
def test_a_rate_that_is_none_is_refused(admin_client, rate):
    page = previewed(admin_client, "sampling", rate=rate, minutes=5)
    assert "preview" not in page.context
    assert 'role="alert"' in page.content.decode()


def test_the_queue_is_paused_and_resumed(admin_client):
    spec = JobSpec(url="http://a.example/", formats=("html",), max_attempts=2, timeout=30)
    enqueue([spec], client_id=make_tenant().client.id)
    tell_queue()
    assert figures(previewed(admin_client, "pause"))["Ready"] == 1
    assert done(admin_client, "pause", reason="a migration").outcome == "The queue is paused."
    pause = Pause.objects.get()
    assert (str(pause.by), pause.reason) == ("admin", "a migration")
    health = health_of(QueueCard())
    assert health.level == Level.YELLOW
    assert "paused by admin 0 s ago (a migration)" in health.reason
    assert "Paused for" in figures(previewed(admin_client, "resume"))
    assert done(admin_client, "resume").outcome == "Jobs begin again."
    assert not Pause.objects.exists()
    assert LogEntry.objects.count() == 2


def test_a_forgotten_pause_is_red_even_when_nobody_counts_the_queue(db):
    Pause.objects.create(began_at=timezone.now() - timedelta(minutes=61))
    assert health_of(QueueCard()).level == Level.RED
    tell_queue()
    assert health_of(QueueCard()).level == Level.RED


def test_pausing_twice_says_that_nothing_has_changed(admin_client):
    done(admin_client, "pause")
    assert previewed(admin_client, "pause").context["preview"].warnings
    assert done(admin_client, "pause").outcome == "The queue was paused already."
    done(admin_client, "resume")
    assert done(admin_client, "resume").outcome == "The queue was not paused."


def test_without_valkey_a_preview_says_so(admin_client, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(cache_layer(), "remote", away())
        page = previewed(admin_client, "end_sampling")
    assert "Valkey does not answer" in page.context["error"]
