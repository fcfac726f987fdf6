"""A view that asks for each row is found with its line and its remedy; one that does not is not."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.http import HttpResponse
from django.urls import include, path
from django.utils import timezone

from cachelayer.layer import cache_layer
from jobs.models import Client
from jobs.services import create_client
from performance.analysis.findings import MENDED_AFTER, State, review, states
from performance.analysis.fingerprint import statement_of
from performance.analysis.nplusone import hint, verdict
from performance.cards import nplusone as nplusone_card
from performance.cards.nplusone import NPlusOneCard
from performance.cards.shapes import Level
from performance.models import Aggregate, Finding, Kind
from performance.recording.process import buffer, governor
from performance.recording.rescue import failures
from performance.recording.stream import Stream
from performance.storage.digest import Digest
from performance.storage.reading import Scope
from performance.tests.telling import fact

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

HERE = "performance/tests/test_nplusone.py"
MANY = 20


def owners(request):
    clients = Client.objects.order_by("id")
    if request.GET.get("mended"):
        clients = clients.select_related("owner")
    return HttpResponse(" ".join(client.owner.username for client in clients))


def keys(request):
    return HttpResponse(str([list(client.keys.all()) for client in Client.objects.all()]))


def groups(request):
    return HttpResponse(str([list(user.groups.all()) for user in User.objects.all()]))


def twice_each(request):
    """Two queries in one loop: neither follows itself."""
    for client in Client.objects.all():
        list(client.keys.all())
        list(client.schedules.all())
    return HttpResponse("done")


def the_same(request):
    for _ in range(MANY):
        User.objects.filter(username="nobody").exists()
    return HttpResponse("done")


def few(request):
    for number in range(4):
        User.objects.filter(username=str(number)).exists()
    return HttpResponse("done")


def writes(request):
    for client in Client.objects.select_related("owner"):
        Client.objects.filter(pk=client.pk).update(name="new")
    return HttpResponse("done")


urlpatterns = [
    path("owners/", owners),
    path("to-be-mended/", owners),
    path("keys/", keys),
    path("groups/", groups),
    path("twice/", twice_each),
    path("the-same/", the_same),
    path("few/", few),
    path("writes/", writes),
    path("console/", include("performance.console.urls", namespace="console")),
]


def line_of(text):
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.fixture(autouse=True)
def _clean():
    buffer.take("")
    failures.clear()
    yield
    assert not failures


@pytest.fixture(autouse=True)
def _rows(_clean):
    for number in range(MANY):
        user = User.objects.create(username=f"user-{number}")
        create_client(owner=user, name="default")
    buffer.take("")


@pytest.fixture
def sightings(client):
    def sightings(address):
        assert client.get(address).status_code == 200
        message = buffer.take("test")
        about = {subject.key: subject.document for subject in message.subjects}
        return [
            (name.type, tally, about.get(name.key, {}))
            for name, tally in message.tallies.items()
            if name.type in (Kind.N_PLUS_ONE, Kind.DUPLICATE_QUERIES)
        ]

    return sightings


def test_a_foreign_key_followed_for_each_row_is_found_with_its_line_and_remedy(sightings):
    [(kind, tally, about)] = sightings("/owners/")
    assert kind == Kind.N_PLUS_ONE
    assert (tally.count, about["queries"]) == (1, MANY)
    assert 0 < tally.sum < about["milliseconds"]
    assert (about["file"], about["line"]) == (HERE, line_of("client.owner.username for"))
    assert about["function"].startswith("owners")
    assert about["view"] == "GET /owners/"
    assert about["hint"] == 'Add select_related("owner") to the query of Client.'
    assert about["title"] == f"N+1 on auth_user at {HERE}:{about['line']}"
    assert '"auth_user"."id" = ' in about["sql"]
    assert '"jobs_client"' in about["source"]


def test_the_mended_view_is_not_found(sightings):
    assert sightings("/owners/?mended=1") == []


def test_rows_that_refer_to_one_are_found(sightings):
    [(kind, _, about)] = sightings("/keys/")
    assert kind == Kind.N_PLUS_ONE
    assert about["hint"] == 'Add prefetch_related("keys") to the query of Client.'


def test_a_table_between_two_models_is_found(sightings):
    [(_, _, about)] = sightings("/groups/")
    assert about["hint"] == 'Add prefetch_related("groups") to the query of User.'


def test_a_second_query_in_the_loop_hides_nothing(sightings):
    found = sightings("/twice/")
    assert {kind for kind, _, _ in found} == {Kind.N_PLUS_ONE}
    assert sorted(about["hint"] for _, _, about in found) == [
        'Add prefetch_related("keys") to the query of Client.',
        'Add prefetch_related("schedules") to the query of Client.',
    ]


def test_the_same_question_again_is_told_as_such(sightings):
    [(kind, _, about)] = sightings("/the-same/")
    assert kind == Kind.DUPLICATE_QUERIES
    assert "keep the first answer" in about["hint"]


def test_a_few_are_no_fault(sightings):
    assert sightings("/few/") == []


def test_writes_are_no_n_plus_one(sightings):
    assert sightings("/writes/") == []


def test_a_fault_is_the_same_the_next_time(client, sightings):
    client.get("/owners/")
    [(_, tally, _)] = sightings("/owners/")
    assert tally.count == 2


def test_a_request_that_is_only_counted_tells_nothing(client, monkeypatch):
    monkeypatch.setattr(governor, "rate", 0.0)
    client.get("/owners/")
    types = {name.type for name in buffer.take("test").tallies}
    assert "request" in types
    assert not {type for type in types if type.startswith(("query", Kind.N_PLUS_ONE))}


@pytest.mark.parametrize(
    ("count", "distinct", "milliseconds", "expected"),
    [
        (4, 1.0, 1_000, None),
        (5, 1.0, 50, Kind.N_PLUS_ONE),
        (19, 1.0, 49, None),
        (20, 1.0, 1, Kind.N_PLUS_ONE),
        (20, 0.8, 1, Kind.N_PLUS_ONE),
        (20, 0.79, 1, Kind.DUPLICATE_QUERIES),
    ],
)
def test_it_is_decided_by_counts(count, distinct, milliseconds, expected):
    assert verdict(count, distinct, milliseconds) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ('SELECT 1 FROM "a" WHERE "a"."b_id" = %s', "Ask for all rows of a in one query"),
        ("SELECT count(*) FROM a", "Ask for all of them in one query"),
        ('SELECT 1 FROM "jobs_client" WHERE "jobs_client"."name" = %s', "name__in"),
    ],
)
def test_what_the_models_do_not_know_has_a_remedy_too(sql, expected):
    assert expected in hint(Kind.N_PLUS_ONE, statement_of(sql), None)


KEYS = '"jobs_apikey"."client_id" = %s'


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            f'SELECT 1 FROM "jobs_apikey" WHERE ("jobs_apikey"."name" = %s AND {KEYS})',
            'prefetch_related("keys")',
        ),
        (
            'SELECT 1 FROM "auth_permission" WHERE "auth_permission"."content_type_id" = %s'
            ' AND "auth_permission"."codename" = %s',
            "codename__in",
        ),
        (
            'SELECT 1 FROM "auth_permission" WHERE "auth_permission"."content_type_id" = %s'
            ' AND "auth_permission"."id" = %s',
            "Ask for all of Permission",
        ),
        (
            'SELECT 1 FROM "jobs_job" INNER JOIN "jobs_apikey" T3 ON T3."id" = "key_id"'
            ' WHERE T3."client_id" = %s',
            'prefetch_related("keys")',
        ),
    ],
)
def test_of_several_conditions_the_remedy_is_for_the_one_that_differs_most_likely(sql, expected):
    assert expected in hint(Kind.N_PLUS_ONE, statement_of(sql), None)


def test_without_the_query_before_every_relation_is_guessed():
    statement = statement_of('SELECT 1 FROM "jobs_client" WHERE "jobs_client"."id" = %s LIMIT 21')
    assert 'select_related("client")' in hint(Kind.N_PLUS_ONE, statement, None)


def test_a_finding_is_told_as_mended_once_its_view_is_called_without_it(client):
    remote = cache_layer().remote
    remote.call(("UNLINK", "test:performance"))
    stream = Stream(remote, "test")

    def call(address, times):
        for _ in range(times):
            client.get(address)
        stream.append(buffer.take("web/1"))
        Digest(stream).run()

    def look(now):
        review(now)
        finding = Finding.objects.get()
        content = NPlusOneCard().content(Scope())
        return states([finding], now)[finding.pk], content

    call("/to-be-mended/", 3)
    now = timezone.now()
    state, content = look(now)
    assert state == State.OPEN
    assert content.health.level == Level.YELLOW
    [row] = content.tables[0].rows
    assert row.cells["origin"] == f"{HERE}:{line_of('client.owner.username for')}"
    assert (row.cells["seen"], row.cells["state"]) == (3, "open")
    made_older(minutes=30)
    call("/to-be-mended/?mended=1", MENDED_AFTER - 1)
    assert look(now)[0] == State.OPEN
    call("/to-be-mended/?mended=1", 1)
    state, content = look(now)
    assert state == State.SEEMS_MENDED
    assert content.health.level == Level.GREEN


def made_older(minutes):
    age = timedelta(minutes=minutes)
    Aggregate.objects.update(bucket=F("bucket") - age)
    Finding.objects.update(last_seen_at=F("last_seen_at") - age)


def test_more_findings_than_are_shown_are_told_of(monkeypatch):
    monkeypatch.setattr(nplusone_card, "MOST", 1)
    now = timezone.now()
    for number, resolved_at in enumerate((None, None, now)):
        Finding.objects.create(
            kind=Kind.N_PLUS_ONE, key=f"{number}", title="x", document={}, sightings=3,
            wasted=number, first_seen_at=now, last_seen_at=now, resolved_at=resolved_at,
        )  # fmt: skip
    content = NPlusOneCard().content(Scope())
    assert fact(content, "Resolved").value == 1
    assert fact(content, "Open").hint == "Of the 1 dearest; 2 are unresolved."
