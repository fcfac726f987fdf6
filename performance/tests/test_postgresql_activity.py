"""Who waits for whom is seen, and a session of ours can be ended by those who may, on record."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.urls import reverse

from performance.analysis.postgresql import activity
from performance.cards.activity import ActivityCard
from performance.cards.shapes import Level
from performance.storage.reading import Scope
from performance.tests.sessions import FOREIGN, OURS, lock_wait, session

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def browser(client):
    """A browser of staff with these permissions."""

    def browser(*permissions):
        user = User.objects.create_user("staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return browser


def looked_at(pid):
    one = activity.session(pid)
    assert one is not None
    return one


def found(pid):
    return next(one for one in activity.sessions() if one.pid == pid)


def press(client, pid, how, started=None):
    started = started or looked_at(pid).started.isoformat()
    return client.post(reverse("console:session", args=[pid]), {"how": how, "started": started})


def test_a_blocked_session_is_seen_with_its_blocker(monkeypatch):
    monkeypatch.setattr(activity, "LONG_BLOCKED", 0.0)
    with lock_wait() as (holder, waiter, _):
        assert found(waiter).blockers == [holder]
        assert found(waiter).waits_for == "Lock: relation"
        assert found(holder).is_idle_in_transaction
        content = ActivityCard().content(Scope())
        assert content.health
        assert content.health.level == Level.RED
        assert f"session {waiter} waits for a lock that {holder} holds" in content.health.reason
        rows = {row.cells["pid"]: row for row in content.tables[0].rows}
        assert rows[str(waiter)].cells["blockers"] == str(holder)
        assert rows[str(holder)].cells["state"] == "idle in transaction, blocks others"
        assert rows[str(waiter)].level == rows[str(holder)].level == Level.RED


def test_who_waits_for_a_lock_for_a_moment_is_no_trouble(monkeypatch):
    monkeypatch.setattr(activity, "LONG_BLOCKED", 3600.0)
    with lock_wait() as (holder, waiter, _):
        content = ActivityCard().content(Scope())
    assert content.health
    assert content.health.level == Level.GREEN
    rows = {row.cells["pid"]: row for row in content.tables[0].rows}
    assert rows[str(waiter)].level == rows[str(holder)].level == Level.GREEN
    assert rows[str(waiter)].cells["blockers"] == str(holder)


@pytest.mark.parametrize("length", [1, 2000])
def test_values_of_tables_that_hold_secrets_are_not_shown(length):
    """Nor the beginning of one that PostgreSQL has cut off."""
    with session() as (pid, run):
        run(f"SELECT 1 FROM auth_user WHERE id = 7 AND password = '{'secret' * length}'")
        sql = looked_at(pid).sql
    assert "secret" not in sql
    assert sql.startswith("SELECT %s FROM auth_user WHERE id = %s AND password = ")


def test_one_does_not_see_oneself():
    connection.ensure_connection()
    assert connection.connection.info.backend_pid not in pids()


def pids():
    return {one.pid for one in activity.sessions()}


def test_an_idle_session_is_not_active_but_can_be_looked_at():
    with session() as (pid, _):
        assert pid not in pids()
        assert looked_at(pid).state == "idle"


def test_terminating_the_blocker_lets_the_blocked_go_on(browser):
    client = browser("view_console", "use_console")
    with lock_wait() as (holder, _waiter, ended):
        response = press(client, holder, "terminate")
    assert response.url == reverse("console:page", args=["database"])
    assert ended == []
    (entry,) = LogEntry.objects.all()
    assert (entry.user.username, entry.object_repr) == ("staff", f"session {holder}")
    assert entry.change_message.startswith(f"Asked to terminate it: {OURS}: BEGIN; LOCK TABLE")


def test_cancelling_ends_only_the_statement(browser):
    client = browser("view_console", "use_console")
    with lock_wait() as (_, waiter, ended):
        press(client, waiter, "cancel")
    assert "canceling statement due to user request" in ended[0]


def test_who_may_only_look_ends_nothing(browser):
    client = browser("view_console")
    with session() as (pid, run):
        assert press(client, pid, "terminate").status_code == 403
        page = client.get(reverse("console:session", args=[pid])).content.decode()
        assert "Terminate" not in page
        run("SELECT 1")
    assert not LogEntry.objects.exists()


def test_what_is_not_ours_is_not_ended(browser):
    client = browser("view_console", "use_console")
    with session(FOREIGN) as (pid, run):
        page = client.get(reverse("console:session", args=[pid])).content.decode()
        assert "not one of this service" in page
        press(client, pid, "terminate")
        run("SELECT 1")
    assert not LogEntry.objects.exists()


@pytest.fixture
def ordinary():
    """The console's role may see all sessions, and end none of another role."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE poor")
        cursor.execute("GRANT pg_monitor, pg_read_all_data, pg_write_all_data TO poor")
        cursor.execute("SET ROLE poor")
        yield
        cursor.execute("RESET ROLE; DROP ROLE poor")


def test_a_session_of_another_role_is_not_ended_and_the_try_is_on_record(browser, ordinary):
    client = browser("view_console", "use_console")
    with session() as (pid, run):
        page = client.get(press(client, pid, "terminate").url).content.decode()
        run("SELECT 1")
    assert f"Whoever runs session {pid} has to end it" in page
    assert LogEntry.objects.get().change_message.startswith("Asked to terminate it")


def test_a_session_that_began_later_under_the_same_number_is_not_ended(browser):
    client = browser("view_console", "use_console")
    with session() as (pid, run):
        press(client, pid, "terminate", "2020-01-01T00:00:00+00:00")
        run("SELECT 1")
    assert not LogEntry.objects.exists()


def test_nobody_ends_oneself(admin_client):
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    own = "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    with connection.cursor() as cursor:
        cursor.execute(own)
        started = cursor.fetchone()[0]
    assert not activity.end(pid, started, "terminate")


@pytest.mark.parametrize("form", [{}, {"how": "drop"}, {"how": "cancel", "started": "yesterday"}])
def test_what_is_no_order_is_refused(admin_client, form):
    assert admin_client.post(reverse("console:session", args=[1]), form).status_code == 400


def test_a_session_that_is_gone_is_not_found(admin_client):
    assert admin_client.get(reverse("console:session", args=[0])).status_code == 404
