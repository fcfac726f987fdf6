"""The admin login and the API key of a local service: made once, kept in one private file."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

from scraper_site.embedded.engines import create_private, write_private
from scraper_site.embedded.errors import file_errors_explained

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

ADMIN_USER = "admin"
CLIENT_NAME = "default"
FILE_NAME = "credentials.json"


class CredentialsError(Exception):
    """The credentials file is not one."""


@dataclass(frozen=True)
class Credentials:
    """What a person or a program needs to use the service."""

    url: str
    site_url: str
    admin_user: str
    admin_password: str
    api_key: str

    @classmethod
    def load(cls, data_dir: Path) -> Self | None:
        """Those of the data directory, or None when there are none yet.

        Raises CredentialsError.
        """
        path = data_dir / FILE_NAME
        with file_errors_explained(data_dir):
            if not path.exists():
                return None
            text = path.read_text()
        try:
            document = json.loads(text)
            return cls(**{field.name: str(document[field.name]) for field in fields(cls)})
        except (ValueError, KeyError, TypeError):
            raise CredentialsError(
                f"{path} cannot be read.\nRemove it: a new one with new credentials is made."
            ) from None

    @classmethod
    def load_or_create(cls, data_dir: Path, *, url: str, site_url: str) -> Self:
        """Those of the data directory with these addresses, created or updated as needed."""
        from jobs.keys import generate_key

        known = cls.load(data_dir)
        if known is None:
            made = cls(url, site_url, ADMIN_USER, secrets.token_urlsafe(18), generate_key())
            with file_errors_explained(data_dir):
                create_private(data_dir / FILE_NAME, made.as_json())
            return made
        current = replace(known, url=url, site_url=site_url)
        if current != known:
            with file_errors_explained(data_dir):
                fresh = data_dir / f"{FILE_NAME}.new"
                write_private(fresh, current.as_json())
                fresh.replace(data_dir / FILE_NAME)
        return current

    def as_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=2) + "\n"


def ensure_credentials(credentials: Credentials) -> None:
    """Let the credentials work: the superuser, its default client and the key. Idempotent."""
    from django.contrib.auth.models import User
    from django.db import transaction

    from jobs.models import Client
    from jobs.services import create_client, install_key

    with transaction.atomic():
        admin, _ = User.objects.get_or_create(username=credentials.admin_user)
        if not (admin.is_superuser and admin.is_staff and admin.is_active):
            admin.is_superuser = admin.is_staff = admin.is_active = True
            admin.save()
        if not admin.check_password(credentials.admin_password):
            admin.set_password(credentials.admin_password)
            admin.save()
        client = Client.objects.filter(owner=admin, name=CLIENT_NAME).first()
        install_key(
            client=client or create_client(owner=admin, name=CLIENT_NAME), key=credentials.api_key
        )
