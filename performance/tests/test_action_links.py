"""What can be done about a thing stands beside it, for those who may, and leads to a preview."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from jobs.models import Pause
from performance.actions.indexes import CreateIndex
from performance.models import Sample
from performance.recording.process import buffer
from performance.tests.acting import TABLE, record_slow_statement, tell_queue, value
from performance.tests.slow_tables import SQL, fill_samples
from performance.tests.telling import forget, tell

pytestmark = pytest.mark.django_db(transaction=True)

LINK = re.compile(r'class="console-act" href="([^"]+)"[^>]*>([^<]+)<')


@pytest.fixture(autouse=True)
def _empty():
    forget()


@pytest.fixture
def actions_on(admin_client):
    """The addresses of the actions on a page, by what stands on them."""

    def actions_on(address, client=admin_client):
        page = client.get(address)
        assert page.status_code == 200
        assert "console-error" not in page.content.decode()
        return {
            unescape(address): text.strip() for address, text in LINK.findall(page.content.decode())
        }

    return actions_on


@pytest.fixture
def wanted(admin_client):
    """What the page of an action at an address says it would do it to."""

    def wanted(address):
        context = admin_client.get(address).context
        assert "error" not in context
        return context["wanted"]

    return wanted


@pytest.fixture
def dead_rows():
    fill_samples()
    Sample.objects.filter(value__lt=10_000).delete()
    value("SELECT pg_stat_force_next_flush()")


def page(slug):
    return reverse("console:page", args=[slug])


def action(name, query=""):
    return reverse("console:action", args=[name]) + query


def looker(client):
    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_console"))
    client.force_login(user)
    return client


def test_a_table_with_dead_and_changed_rows_is_vacuumed_and_analysed_from_its_row(
    dead_rows, actions_on, wanted
):
    found = actions_on(page("database"))
    for name, verb in (("vacuum", "Vacuum"), ("analyze", "Analyse")):
        address = action(name, f"?table={TABLE}")
        assert found[address] == verb
        assert wanted(address) == {"table": TABLE}


def test_a_table_that_needs_nothing_offers_nothing(dead_rows, actions_on):
    value(f"VACUUM ANALYZE {TABLE}")
    assert not [one for one in actions_on(page("database")) if one.endswith(f"={TABLE}")]


def test_a_suggested_index_is_made_from_where_it_is_suggested(actions_on, wanted):
    fill_samples()
    now, evidence = timezone.now(), {"sql": SQL, "parameters": ["web/7", 3]}
    Sample.objects.create(
        type="query", key="q", instance="web/1", value=9e9, recorded_at=now, document=evidence
    )
    plan = reverse("console:plan", args=["query", "q"])
    # What is slow for one call only is lacked by nobody.
    assert actions_on(plan) == {}
    record_slow_statement()
    (name,) = CreateIndex.choices()["index"]
    address = action("create_index", f"?index={name}")
    for place in (plan, reverse("console:suggestions")):
        assert actions_on(place) == {address: f"Create index {name}"}
    assert wanted(address) == {"index": name}


def test_the_database_page_leads_to_suggested_indexes_and_to_a_reset(admin_client, actions_on):
    assert reverse("console:suggestions") in admin_client.get(page("database")).content.decode()
    assert action("reset_statistics") in actions_on(page("database"))


def test_a_namespace_is_cleared_from_its_row_and_what_can_be_warmed_is_named(actions_on, wanted):
    buffer.count("cache.remote.hits", "results", 3)
    tell("web/1")
    found = actions_on(page("cache"))
    assert found[action("clear", "?namespace=results")] == "Clear"
    warming = action("warm", "?namespace=api-keys")
    assert found[warming] == "Warm api-keys"
    assert wanted(warming) == {"namespace": "api-keys"}


@pytest.mark.parametrize("is_counted", [True, False])
def test_the_queue_is_paused_or_resumed_whichever_is_possible(actions_on, wanted, is_counted):
    if is_counted:
        tell_queue()
    ((address, text),) = actions_on(page("queue")).items()
    assert (address, text) == (action("pause", "?reason="), "Pause the queue")
    assert wanted(address) == {"reason": ""}
    Pause.objects.create(began_at=timezone.now())
    assert actions_on(page("queue")) == {action("resume"): "Resume the queue"}


def test_who_may_only_look_sees_no_action(client, dead_rows, actions_on):
    record_slow_statement()
    shown = looker(client)
    for address in (page("database"), reverse("console:suggestions")):
        assert actions_on(address) != {}
        assert actions_on(address, shown) == {}
        assert "What to do" not in shown.get(address).content.decode()


def test_a_card_by_itself_has_its_actions_too(client, actions_on):
    address = reverse("console:card", args=["queue"])
    assert actions_on(address) != {}
    assert actions_on(address, looker(client)) == {}
