"""Requests are captured when somebody asks, with their queries, so many, and at no other time."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests as http
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.sql.compiler import SQLCompiler
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse
from django.utils import timezone
from silk.config import SilkyConfig
from silk.models import Request, SQLQuery

from cachelayer.layer import cache_layer
from cachelayer.remote import Remote
from cachelayer.tests.servers import until
from performance.middleware import RequestsMiddleware
from performance.models import Capture, Finding, Kind
from performance.profiling import keeping, requests, silk
from performance.profiling.asking import PATIENCE, Limits, ask_requests
from performance.profiling.sampler import CapturesSampler
from performance.tests.sessions import taken

pytestmark = pytest.mark.urls("performance.tests.profiled_site")

VIEW = "GET /asking"
State = Capture.State


@pytest.fixture(autouse=True)
def _nothing_captured():
    requests.wanted.clear()
    requests.pending.clear()
    yield
    requests.wanted.clear()
    requests.pending.clear()


@pytest.fixture
def sampler():
    return CapturesSampler()


@pytest.fixture
def ask(admin_user):
    def ask(number=2, view=VIEW, seconds=PATIENCE, finding=None):
        capture = ask_requests(
            view=view, user=admin_user, limits=Limits(seconds, number), finding=finding
        )
        cache_layer().remote.call(("UNLINK", requests.count_key(capture.pk)))
        return capture

    return ask


@pytest.fixture
def no_valkey(monkeypatch):
    """Called, level 2 loses its server."""
    layer = cache_layer()
    breaker, stats = layer.remote.breaker, layer.stats

    def nobody():
        raise ConnectionError

    def lose():
        monkeypatch.setattr(layer, "remote", Remote(nobody, nobody, breaker=breaker, stats=stats))

    yield lose
    breaker.succeeded()


def statements(capture):
    return list(
        SQLQuery.objects.filter(request__in=silk.requests_of(capture))
        .order_by("request__start_time", "identifier")
        .values_list("query", flat=True)
    )


@pytest.mark.django_db
def test_nothing_is_captured_when_nobody_asked(client, sampler):
    sampler.sample()
    client.get("/asking")
    assert not requests.pending
    sampler.sample()
    assert not Request.objects.exists()


@pytest.mark.django_db
def test_a_view_that_is_asked_for_is_captured_so_often_and_no_more(client, sampler, ask):
    capture = ask(2)
    sampler.sample()
    for _ in range(4):
        assert client.get("/asking").status_code == 200
    client.post("/asking")
    client.get("/api/docs/")
    sampler.sample()
    assert len(silk.requests_of(capture)) == Request.objects.count() == 2
    capture.refresh_from_db()
    assert (capture.state, capture.document) == (State.DONE, {"requests": 2})
    sampler.sample()
    client.get("/asking")
    assert not requests.pending
    assert not requests.wanted


@pytest.mark.django_db
def test_every_query_is_seen_raw_and_written_ones_too_with_where_they_are(client, sampler, ask):
    capture = ask(1)
    sampler.sample()
    client.get("/asking")
    sampler.sample()
    found = statements(capture)
    assert [one.split()[0] for one in found] == ["SELECT", "SELECT", "UPDATE"]
    assert found[1].endswith("/* values: [41] */")
    query = SQLQuery.objects.get(query__startswith="SELECT %s::int")
    assert "performance/tests/profiled_site.py" in query.traceback_ln_only
    request = silk.requests_of(capture).get()
    assert request.num_sql_queries == 3
    assert request.time_taken >= request.time_spent_on_sql_queries > 0
    assert request.response.status_code == 200


@pytest.mark.django_db
def test_who_is_on_the_record_keeps_secrets(client, sampler, ask):
    """Headers, bodies, queries of addresses, and values of tables with secrets."""
    capture = ask(1, "POST /asking")
    sampler.sample()
    client.post("/asking?token=hush", {"password": "hush"}, headers={"X-Api-Key": "hush"})
    sampler.sample()
    request = silk.requests_of(capture).get()
    kept = [*request.__dict__.values(), *request.response.__dict__.values()]
    kept += [value for query in request.queries.all() for value in query.__dict__.values()]
    assert "hush" not in str(kept)
    assert "nobody" not in str(kept).lower()


@pytest.mark.django_db
def test_no_query_is_explained_and_none_is_added_to_the_request(client, sampler, ask):
    with CaptureQueriesContext(connection) as before:
        client.get("/asking")
    ask(1)
    sampler.sample()
    with CaptureQueriesContext(connection) as during:
        client.get("/asking")
    assert len(requests.pending) == 1
    assert [one["sql"] for one in during] == [one["sql"] for one in before]


@pytest.mark.django_db
def test_silks_own_hook_into_every_query_is_never_set(client, sampler, ask):
    ask(1)
    sampler.sample()
    client.get("/asking")
    sampler.sample()
    assert Request.objects.exists()
    assert not hasattr(SQLCompiler, "_execute_sql")
    assert SQLCompiler.execute_sql.__module__ == "django.db.models.sql.compiler"
    assert sys.getprofile() is None


def test_what_would_make_silk_dear_or_open_is_off():
    config = SilkyConfig()
    assert "silk.middleware.SilkyMiddleware" not in settings.MIDDLEWARE
    assert config.SILKY_INTERCEPT_PERCENT == 0
    assert config.SILKY_PYTHON_PROFILER is False
    assert config.SILKY_ANALYZE_QUERIES is False
    assert config.SILKY_MAX_RECORDED_REQUESTS_CHECK_PERCENT == 0
    assert config.SILKY_MAX_REQUEST_BODY_SIZE == config.SILKY_MAX_RESPONSE_BODY_SIZE == 0
    assert config.SILKY_AUTHENTICATION
    assert config.SILKY_AUTHORISATION
    assert not config.SILKY_PERMISSIONS(User(is_staff=True))
    assert config.SILKY_PERMISSIONS(User(is_superuser=True))


@pytest.mark.django_db
def test_a_capture_ends_by_its_time_whoever_comes(client, sampler, ask):
    capture = ask(2)
    sampler.sample()
    long_ago = timezone.now() - timedelta(seconds=PATIENCE + 1)
    Capture.objects.update(asked_at=long_ago)
    sampler.sample()
    capture.refresh_from_db()
    assert (capture.state, capture.document) == (State.DONE, {"requests": 0})
    client.get("/asking")
    assert not requests.pending


@pytest.mark.django_db
def test_it_ends_by_its_time_even_if_the_observer_has_died(client, ask):
    capture = ask(2)
    requests.refresh(keeping.open_captures(), timezone.now())
    requests.wanted[VIEW].until = 0.0
    client.get("/asking")
    assert not requests.pending
    assert requests.taken(capture.pk) == 0


@pytest.mark.django_db
def test_without_valkey_nothing_is_captured_and_that_is_said(client, sampler, ask, no_valkey):
    capture = ask(2)
    sampler.sample()
    no_valkey()
    assert client.get("/asking").status_code == 200
    assert not requests.pending
    Capture.objects.update(asked_at=timezone.now() - timedelta(seconds=PATIENCE + 1))
    sampler.sample()
    capture.refresh_from_db()
    assert capture.state == State.FAILED
    assert "Valkey" in capture.error


@pytest.mark.django_db
def test_what_was_captured_before_valkey_went_away_is_kept(client, sampler, ask, no_valkey):
    capture = ask(2)
    sampler.sample()
    client.get("/asking")
    no_valkey()
    Capture.objects.update(asked_at=timezone.now() - timedelta(seconds=PATIENCE + 1))
    sampler.sample()
    capture.refresh_from_db()
    assert "before, if anything, is kept" in capture.error
    assert len(silk.requests_of(capture)) == 1


@pytest.mark.django_db
def test_what_goes_wrong_in_capturing_breaks_no_request(client, sampler, ask, monkeypatch):
    def broken(*_):
        raise RuntimeError

    ask(2)
    sampler.sample()
    monkeypatch.setattr(requests, "take", broken)
    assert client.get("/asking").status_code == 200
    assert client.get("/no/such/page").status_code == 404


@pytest.mark.django_db
def test_a_view_that_raises_is_captured_and_still_raises(ask):
    ask(1)
    requests.refresh(keeping.open_captures(), timezone.now())

    def failing(request):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        RequestsMiddleware(failing)(RequestFactory().get("/asking"))
    assert [one.status for one in requests.pending] == [0]


@pytest.mark.django_db
def test_the_console_is_not_captured(ask):
    path = "/admin/performance/"
    ask(1, f"GET /{resolve(path).route}")
    requests.refresh(keeping.open_captures(), timezone.now())
    RequestsMiddleware(lambda _: HttpResponse())(RequestFactory().get(path))
    assert not requests.pending


@pytest.mark.django_db
def test_old_requests_are_removed_by_us(client, sampler, ask):
    ask(1)
    sampler.sample()
    client.get("/asking")
    sampler.sample()
    later = timezone.now() + keeping.REQUESTS_KEPT_FOR
    with taken("performance.trim"):
        assert keeping.remove_old(later) == 0, "another process is at it"
    assert keeping.remove_old(timezone.now()) == 0
    assert keeping.remove_old(later) == 1
    assert not SQLQuery.objects.exists()


@pytest.mark.xdist_group("watched service")
@pytest.mark.django_db(transaction=True)
def test_a_capture_ends_after_so_many_requests_in_two_processes(start_web, ask):
    settings_of = {"DJANGO_SETTINGS_MODULE": "performance.tests.profiled_settings"}
    most = 12

    def pid(base):
        return http.get(f"{base}/asking", timeout=30).text

    with start_web(**settings_of) as one, start_web(**settings_of) as other:
        assert pid(one) != pid(other)
        capture = ask(most)

        def is_over():
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(pid, [one, other] * 2))
            capture.refresh_from_db()
            return capture.state == State.DONE

        until(is_over, "enough have come", seconds=60)
        until(lambda: len(silk.requests_of(capture)) == most, "all are written")
        for base in (one, other) * 5:
            pid(base)
    assert Request.objects.count() == most


# The console.


@pytest.fixture
def captured(client, sampler, ask):
    capture = ask(1)
    sampler.sample()
    client.get("/asking")
    sampler.sample()
    return capture


@pytest.fixture
def finding(db):
    now = timezone.now()
    return Finding.objects.create(
        kind=Kind.N_PLUS_ONE, key="k", title="N+1 on a table", document={"view": VIEW},
        first_seen_at=now, last_seen_at=now,
    )  # fmt: skip


def test_a_capture_shows_its_requests_and_queries(admin_client, captured):
    page = admin_client.get(reverse("console:capture", args=[captured.pk])).content.decode()
    request = silk.requests_of(captured).get()
    assert reverse("silk:request_detail", args=[request.pk]) in page
    assert "SELECT %s::int + 1" in page
    for name, part in (("requests", request.path), ("queries", "SELECT %s::int + 1")):
        address = reverse("console:capture-table", args=[captured.pk, name])
        assert part in admin_client.get(address).content.decode()


def test_silks_pages_show_them_to_superusers(admin_client, captured):
    request = silk.requests_of(captured).get()
    for name in ("request_detail", "request_sql"):
        assert admin_client.get(reverse(f"silk:{name}", args=[request.pk])).status_code == 200
    query = request.queries.get(query__startswith="SELECT %s::int")
    url = reverse("silk:request_sql_detail", args=[request.pk, query.pk])
    assert "profiled_site.py" in admin_client.get(url).content.decode()
    assert admin_client.get(reverse("silk:summary")).status_code == 200
    assert admin_client.get(reverse("silk:requests")).status_code == 200
    assert not requests.pending


def test_others_are_refused_and_strangers_log_in(client, db):
    url = reverse("silk:summary")
    assert client.get(url)["Location"].startswith(reverse("admin:login"))
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__endswith="_console"))
    client.force_login(user)
    assert client.get(url).status_code == 403
    response = client.post(reverse("console:capture-ask"), {"kind": "requests", "target": VIEW})
    assert response.status_code == 403
    assert not Capture.objects.exists()


def test_a_file_that_no_query_was_asked_from_is_not_shown(admin_client, captured):
    query = SQLQuery.objects.first()
    url = reverse("silk:request_sql_detail", args=[query.request_id, query.pk])
    where = {"pos": 1, "file_path": "/etc/passwd", "line_num": 1}
    assert admin_client.get(url, where).status_code == 403


def test_a_finding_leads_to_a_capture_of_its_view_and_back(admin_client, finding):
    url = reverse("console:capture-finding", args=[finding.pk])
    assert "Capture the next requests" in admin_client.get(url).content.decode()
    response = admin_client.post(url)
    capture = Capture.objects.get()
    assert (capture.kind, capture.target, capture.finding) == ("requests", VIEW, finding)
    assert LogEntry.objects.filter(object_repr=f"capture {capture.pk}").exists()
    assert url in admin_client.get(response["Location"]).content.decode()
    assert response["Location"] in admin_client.get(url).content.decode()
    again = admin_client.post(url)
    assert "under way already" in again.content.decode()


def test_a_superuser_asks_for_a_view(admin_client):
    admin_client.post(
        reverse("console:capture-ask"), {"kind": "requests", "target": VIEW, "requests": "5"}
    )
    capture = Capture.objects.get()
    assert capture.limits == {"seconds": PATIENCE, "requests": 5}
    page = admin_client.get(reverse("console:capture", args=[capture.pk])).content.decode()
    assert "None has come yet" in page
    assert re.search(r"at most 5 requests or 300 s", page)
