"""A key opens what its scopes say, and nothing else."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection

from jobs.keys import generate_key
from jobs.models import ApiKey, Scope
from jobs.services import find_client, install_key

pytestmark = pytest.mark.django_db


def get(client, tenant, path="jobs"):
    return client.get(f"/api/v1/{path}", headers=tenant.headers)


def scopes_of(key):
    client = find_client(key)
    assert client is not None
    return client.scopes


def test_a_key_opens_the_jobs_api_when_nothing_else_was_said(client, tenant):
    assert get(client, tenant).status_code == 200


def test_a_key_that_an_older_release_makes_opens_the_jobs_api(tenant):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs_apikey (id, client_id, digest, created_at)"
            " VALUES ('old', %s, '', now())",
            [tenant.client.id],
        )
    assert ApiKey.objects.get(id="old").scopes == [Scope.JOBS]


def test_a_key_without_the_scope_is_refused_with_a_problem_that_names_it(client, tenant):
    ApiKey.objects.update(scopes=[Scope.READ])
    response = get(client, tenant)
    assert response.status_code == 403
    assert response["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert (problem["code"], problem["scope"]) == ("missing_scope", "jobs")


def test_no_key_is_a_401_and_not_a_403(client, db):
    assert client.get("/api/v1/jobs").status_code == 401


@pytest.mark.parametrize("is_bulk", [True, False])
@pytest.mark.django_db(transaction=True)
def test_a_changed_scope_is_seen_at_once(client, committed_tenant, is_bulk):
    assert get(client, committed_tenant).status_code == 200
    key = ApiKey.objects.get(client=committed_tenant.client)
    if is_bulk:
        ApiKey.objects.filter(id=key.id).update(scopes=[Scope.OPTIMIZE])
    else:
        key.scopes = [Scope.OPTIMIZE]
        key.save()
    assert get(client, committed_tenant).status_code == 403


def test_the_same_key_again_keeps_its_scopes(tenant):
    key = generate_key()
    install_key(client=tenant.client, key=key, scopes=[Scope.READ])
    install_key(client=tenant.client, key=key)
    assert scopes_of(key) == [Scope.READ]


def staff_with(client, *codenames):
    user = User.objects.create(username="staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


def create(browser, tenant, act):
    return browser.post(f"/admin/jobs/client/{tenant.client.pk}/act/{act}/")


@pytest.mark.parametrize(
    ("act", "scopes"),
    [
        ("create-key", ["jobs"]),
        ("create-monitoring-key", ["performance:read"]),
        ("create-operator-key", ["performance:read", "performance:optimize"]),
    ],
)
def test_staff_choose_the_scopes_when_they_make_a_key(admin_client, tenant, act, scopes):
    page = create(admin_client, tenant, act).content.decode()
    (key,) = re.findall(r"scr_\w+", page)
    assert scopes_of(key) == scopes
    assert Scope(scopes[0]).label.replace("'", "&#x27;") in page


def test_nobody_gives_a_scope_that_they_do_not_have(client, tenant):
    usual = ("view_client", "add_apikey", "view_apikey")
    staff = staff_with(client, *usual)
    assert create(staff, tenant, "create-monitoring-key").status_code == 403
    staff.logout()
    User.objects.get(username="staff").delete()
    staff = staff_with(client, *usual, "view_console")
    assert create(staff, tenant, "create-monitoring-key").status_code == 200
    assert create(staff, tenant, "create-operator-key").status_code == 403


def test_whoever_may_make_no_keys_makes_none_for_the_console(client, tenant):
    staff = staff_with(client, "view_client", "view_console", "use_console")
    assert create(staff, tenant, "create-operator-key").status_code == 403
    assert tenant.client.keys.count() == 1
