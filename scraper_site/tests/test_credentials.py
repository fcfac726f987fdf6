from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from jobs.models import ApiKey, Client
from jobs.services import find_client
from scraper_site.credentials import Credentials, CredentialsError, ensure_credentials

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://127.0.0.1:8000/"
SITE_URL = "http://127.0.0.1:8801/"


@pytest.fixture
def credentials(data_dir: Path) -> Credentials:
    return Credentials.load_or_create(data_dir, url=URL, site_url=SITE_URL)


def test_the_file_is_private_and_has_what_a_user_needs(
    data_dir: Path, credentials: Credentials
) -> None:
    path = data_dir / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "url": URL,
        "site_url": SITE_URL,
        "admin_user": "admin",
        "admin_password": credentials.admin_password,
        "api_key": credentials.api_key,
    }


def test_two_directories_never_share_secrets(data_dir: Path, credentials: Credentials) -> None:
    (data_dir / "other").mkdir()
    other = Credentials.load_or_create(data_dir / "other", url=URL, site_url=SITE_URL)
    assert other.admin_password != credentials.admin_password
    assert other.api_key != credentials.api_key


def test_another_port_changes_the_address_and_nothing_else(
    data_dir: Path, credentials: Credentials
) -> None:
    moved = Credentials.load_or_create(data_dir, url="http://127.0.0.1:9/", site_url=SITE_URL)
    assert moved == Credentials.load(data_dir)
    assert moved.url == "http://127.0.0.1:9/"
    assert (moved.admin_password, moved.api_key) == (
        credentials.admin_password,
        credentials.api_key,
    )
    assert stat.S_IMODE((data_dir / "credentials.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "[]", "{}", '"text"', "{"])
def test_a_damaged_file_is_named(data_dir: Path, text: str) -> None:
    (data_dir / "credentials.json").write_text(text)
    with pytest.raises(CredentialsError, match="Remove it"):
        Credentials.load(data_dir)


@pytest.mark.django_db
def test_the_admin_can_log_in_and_the_key_works(credentials: Credentials) -> None:
    ensure_credentials(credentials)
    admin = User.objects.get(username="admin")
    assert admin.check_password(credentials.admin_password)
    assert (admin.is_staff, admin.is_superuser) == (True, True)
    client = find_client(credentials.api_key)
    assert client is not None
    assert (client.name, client.owner) == ("default", admin)


@pytest.mark.django_db
def test_ensuring_twice_changes_nothing(credentials: Credentials) -> None:
    ensure_credentials(credentials)
    before = User.objects.get().password
    ensure_credentials(credentials)
    assert User.objects.get().password == before
    assert (Client.objects.count(), ApiKey.objects.count()) == (1, 1)


@pytest.mark.django_db
def test_a_changed_password_is_set_back(credentials: Credentials) -> None:
    ensure_credentials(credentials)
    admin = User.objects.get()
    admin.set_password("another")
    admin.is_superuser = False
    admin.save()
    ensure_credentials(credentials)
    admin.refresh_from_db()
    assert admin.check_password(credentials.admin_password)
    assert admin.is_superuser
