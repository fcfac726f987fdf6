"""A look into a process that was asked for is had, by whom it may be, once, and comes to an end."""

import os
import re
import signal
import tracemalloc
from datetime import timedelta

import pytest
import requests
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cachelayer.layer import cache_layer
from cachelayer.remote import Remote
from cachelayer.tests.servers import until
from performance.cards.captures import CapturesCard
from performance.models import Capture, Value
from performance.observing import stream
from performance.profiling import keeping, objects
from performance.profiling.asking import PATIENCE, Limits, Refused, ask_process, ask_requests
from performance.profiling.sampler import ASK_EVERY, CapturesSampler
from performance.profiling.stacks import text, unpack
from performance.storage.digest import Digest
from performance.storage.reading import Scope, values
from performance.storage.trimming import trim
from performance.tests import profiled_site
from tests.support import Service

SITE = {"DJANGO_SETTINGS_MODULE": "performance.tests.profiled_settings"}
State = Capture.State
# Where `keep` allocates.
LINE = profiled_site.keep.__code__.co_firstlineno + 2


@pytest.fixture
def instance(db):
    """A process that has just spoken."""
    Value.objects.create(
        type="process", instance="web/1", document={"role": "web"}, updated_at=timezone.now()
    )
    return "web/1"


@pytest.fixture
def admin(admin_user):
    return admin_user


@pytest.fixture(autouse=True)
def _nothing_told():
    """What processes of other tests have told is not digested here: they are gone."""
    stream().clear()


def asked(user, instance, kind="cpu", seconds=2):
    return ask_process(kind=kind, instance=instance, limits=Limits(seconds), user=user)


def ended(capture):
    """The capture once it has ended."""

    def look():
        capture.refresh_from_db()
        return capture.state in (State.DONE, State.FAILED)

    until(look, "the capture has ended", seconds=60)
    return capture


def instance_of(role):
    """The process of that role that speaks."""
    digest = Digest(stream())

    def look():
        digest.run()
        found = [name for name, one in values("process").items() if one["role"] == role]
        return found[-1] if found else None

    return until(look, f"a {role} process speaks")


def share(stacks, name):
    return sum(n for stack, n in stacks.items() if any(name in frame for frame in stack)) / sum(
        stacks.values()
    )


def look_at(user, role, kind):
    """The stacks of a capture of the process of that role."""
    capture = ended(asked(user, instance_of(role), kind))
    if "SYS_PTRACE" in capture.error and not os.environ.get("CI"):
        pytest.skip(capture.error)
    assert capture.state == State.DONE, capture.error
    return unpack(bytes(capture.stacks))


@pytest.mark.xdist_group("watched service")
@pytest.mark.django_db(transaction=True)
def test_a_web_process_shows_what_it_does_and_goes_on_answering(start_web, admin):
    with start_web(**SITE) as base:
        requests.get(f"{base}/busy", timeout=30).raise_for_status()
        stacks = look_at(admin, "web", "cpu")
        assert share(stacks, "compute (performance/tests/profiled_site.py:") > 0.3, text(stacks)
        requests.get(f"{base}/keeping", timeout=30).raise_for_status()
        stacks = look_at(admin, "web", "objects")
        assert share(stacks, f"performance/tests/profiled_site.py:{LINE}") > 0.3, text(stacks)
        # memray would kill it.
        capture = ended(asked(admin, instance_of("web"), "allocations"))
        assert capture.state == State.FAILED
        assert "tracemalloc" in capture.error
        assert requests.get(f"{base}/asking", timeout=30).text == instance_of("web").split("/")[1]


@pytest.mark.xdist_group("watched service")
@pytest.mark.django_db(transaction=True)
def test_who_allocates_memory_is_shown_by_line(database_url, admin):
    process = Service(["-m", "performance.tests.profiled_process"], DATABASE_URL=database_url)
    try:
        process.wait_for("ready")
        stacks = look_at(admin, "command", "allocations")
        line = f"keep (performance/tests/profiled_site.py:{LINE})"
        assert share(stacks, line) > 0.3, text(stacks)
    finally:
        process.stop()


@pytest.mark.xdist_group("watched service")
@pytest.mark.django_db(transaction=True)
def test_a_worker_survives_every_look_into_it(start_worker, admin):
    worker = start_worker()
    try:
        for kind in ("allocations", "objects"):
            capture = ended(asked(admin, instance_of("worker"), kind))
            assert capture.state == State.DONE, capture.error
    finally:
        assert worker.stop() == 0


@pytest.mark.xdist_group("watched service")
@pytest.mark.django_db(transaction=True)
def test_a_process_that_dies_meanwhile_leaves_the_capture_failed(start_worker, admin):
    worker = start_worker()
    # Not one of another test that has spoken lately.
    name = worker.wait_for(r"worker (\S+) ready").group(1)
    until(lambda: instance_of("worker") and name in values("process"), "it speaks")
    capture = asked(admin, name, "objects", seconds=60)

    def is_running():
        capture.refresh_from_db()
        return capture.state == State.RUNNING

    until(is_running, "the process has taken it on")
    worker.stop(signal.SIGKILL)
    keeping.fail_gone(keeping.open_captures(), timezone.now())
    capture.refresh_from_db()
    assert capture.state == State.RUNNING, "it may still come back"
    gone = Value.objects.filter(instance=capture.target)
    gone.update(updated_at=timezone.now() - keeping.GONE_AFTER)
    Value.objects.create(type="process", instance="other", document={}, updated_at=timezone.now())
    keeping.fail_gone(keeping.open_captures(), timezone.now() + keeping.GONE_AFTER)
    capture.refresh_from_db()
    assert capture.state == State.FAILED
    assert "ended" in capture.error


@pytest.mark.django_db
def test_a_process_is_not_gone_because_nothing_that_is_said_arrives(admin, instance):
    capture = asked(admin, instance)
    assert keeping.claim(capture)
    Value.objects.update(updated_at=timezone.now() - keeping.GONE_AFTER)
    keeping.fail_gone(keeping.open_captures(), timezone.now() + keeping.GONE_AFTER)
    capture.refresh_from_db()
    assert capture.state == State.RUNNING


@pytest.mark.django_db
def test_a_capture_is_taken_on_once(admin, instance):
    capture = asked(admin, instance)
    same = Capture.objects.get(pk=capture.pk)
    assert keeping.claim(capture)
    assert not keeping.claim(same)


@pytest.mark.django_db
def test_one_process_is_looked_into_at_a_time(admin, instance):
    first = asked(admin, instance)
    with pytest.raises(Refused, match="under way already"):
        asked(admin, instance, "objects")
    keeping.finish(first.pk, document={})
    assert asked(admin, instance, "objects")


@pytest.mark.django_db
@pytest.mark.parametrize("seconds", [0, 61])
def test_nobody_is_looked_into_for_long(seconds):
    with pytest.raises(Refused, match="1 to 60 seconds"):
        Limits(seconds)


@pytest.mark.django_db
@pytest.mark.parametrize("view", ["", "asking", "GET asking", "BREW /asking", f"GET /{'x' * 200}"])
def test_what_is_no_view_is_refused(admin_user, view):
    with pytest.raises(Refused, match="no view"):
        ask_requests(view=view, user=admin_user)


def test_nobody_captures_for_long():
    with pytest.raises(Refused):
        Limits(PATIENCE + 1, 20)
    with pytest.raises(Refused):
        Limits(PATIENCE, 101)


@pytest.mark.django_db
def test_who_does_not_speak_is_not_asked(admin):
    with pytest.raises(Refused, match="choose one that does"):
        asked(admin, "web/2")


@pytest.mark.django_db
def test_what_ends_late_changes_nothing(admin, instance):
    capture = asked(admin, instance)
    late = timezone.now() + timedelta(seconds=2) + keeping.OVERHEAD + keeping.GONE_AFTER
    Value.objects.update(updated_at=timezone.now())
    keeping.fail_gone(keeping.open_captures(), late)
    keeping.finish(capture.pk, stacks={("a",): 1}, document={})
    capture.refresh_from_db()
    assert capture.state == State.FAILED
    assert "too long" in capture.error


@pytest.mark.django_db
def test_while_nothing_is_asked_for_postgresql_is_not_asked_either():
    sampler = CapturesSampler()
    sampler.sample()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        sampler.sample()
    assert len(queries) == 0


@pytest.fixture
def no_valkey(monkeypatch):
    """Level 2 whose server is away."""

    def nobody():
        raise ConnectionError

    layer = cache_layer()
    breaker = layer.remote.breaker
    away = Remote(nobody, nobody, breaker=breaker, stats=layer.stats)
    monkeypatch.setattr(layer, "remote", away)
    yield
    breaker.succeeded()


@pytest.mark.django_db
def test_without_valkey_captures_are_found_later(admin, instance, no_valkey):
    sampler = CapturesSampler()
    sampler.sample()
    capture = ask_requests(view="GET /asking", user=admin)
    sampler.sample()
    capture.refresh_from_db()
    assert capture.state == State.ASKED
    sampler._asked_at = timezone.now() - ASK_EVERY
    sampler.sample()
    capture.refresh_from_db()
    assert capture.state == State.RUNNING


@pytest.mark.django_db
def test_old_captures_are_removed_and_open_ones_stay(admin, instance):
    old = asked(admin, instance)
    keeping.finish(old.pk, document={})
    new = asked(admin, instance)
    Capture.objects.update(asked_at=timezone.now() - timedelta(days=31))
    Capture.objects.filter(pk=old.pk).update(ended_at=timezone.now() - timedelta(days=31))
    assert trim(timezone.now()) == 1
    assert list(Capture.objects.all()) == [new]


def test_a_process_that_is_traced_already_is_not_traced_again():
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="traced already"):
            objects.look(1)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_a_capture_of_memory_shows_types_and_lines(admin_client, admin, instance):
    capture = asked(admin, instance, "objects")
    document = {"note": "", "types": [["jobs.models.jobs.Job", 5_000]]}
    keeping.finish(capture.pk, stacks={("jobs/a.py:3",): 4096}, document=document)
    page = admin_client.get(reverse("console:capture", args=[capture.pk])).content.decode()
    assert "jobs/a.py:3" in page
    assert re.search(r"jobs\.models\.jobs\.Job</td><td[^>]*>5,000<", page)


# The console.


@pytest.fixture
def staff(db, client):
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_console", "use_console"])
    )
    client.force_login(user)
    return client


def form(instance, **changes):
    return {"kind": "cpu", "target": instance, "seconds": "5"} | changes


def test_a_superuser_asks_on_the_record(admin_client, instance):
    response = admin_client.post(reverse("console:capture-ask"), form(instance))
    capture = Capture.objects.get()
    assert response["Location"] == reverse("console:capture", args=[capture.pk])
    assert (capture.kind, capture.target, capture.limits) == ("cpu", instance, {"seconds": 5})
    assert LogEntry.objects.get().object_repr == f"capture {capture.pk}"
    page = admin_client.get(response["Location"]).content.decode()
    assert "It is under way" in page


def test_who_is_no_superuser_is_refused_and_may_still_read(staff, instance, admin):
    assert staff.post(reverse("console:capture-ask"), form(instance)).status_code == 403
    assert not Capture.objects.exists()
    capture = asked(admin, instance)
    assert staff.get(reverse("console:capture", args=[capture.pk])).status_code == 200
    page = staff.get(reverse("console:page", args=["profiles"])).content.decode()
    assert "capture-form" not in page


def test_what_cannot_be_had_is_said(admin_client, instance):
    for changes in ({"seconds": "999"}, {"seconds": "x"}, {"kind": "other"}, {"target": "gone"}):
        response = admin_client.post(
            reverse("console:capture-ask"), form(instance, **changes), follow=True
        )
        assert response.status_code == 200
        assert [message.level_tag for message in response.context["messages"]] == ["error"]
    assert not Capture.objects.exists()


def test_reading_asks_for_nothing(admin_client):
    assert admin_client.get(reverse("console:capture-ask")).status_code == 405


def test_a_capture_is_drawn_searched_and_downloaded(admin_client, admin, instance):
    capture = asked(admin, instance)
    keeping.finish(capture.pk, stacks={("main", "busy"): 3, ("main", "idle"): 1}, document={})
    url = reverse("console:capture", args=[capture.pk])
    page = admin_client.get(url, {"find": "busy"}).content.decode()
    assert "<title>busy: 75 %, 3 samples</title>" in page
    assert "75 % of all is in it" in page
    raw = admin_client.get(reverse("console:capture-stacks", args=[capture.pk]))
    assert raw.content.decode() == "main;busy 3\nmain;idle 1\n"


def test_what_has_no_stacks_is_not_downloaded(admin_client, admin, instance):
    capture = asked(admin, instance)
    assert admin_client.get(reverse("console:capture-stacks", args=[capture.pk])).status_code == 404


def test_the_page_offers_what_there_is(admin_client, admin, instance):
    empty = admin_client.get(reverse("console:page", args=["profiles"])).content.decode()
    assert "Nobody has asked for one" in empty
    assert f'<option value="{instance}">' in empty
    capture = asked(admin, instance)
    keeping.fail(capture.pk, "No luck.")
    row = CapturesCard().content(Scope()).tables[0].rows[0]
    assert row.url == reverse("console:capture", args=[capture.pk])
    assert row.cells["error"] == "No luck."
