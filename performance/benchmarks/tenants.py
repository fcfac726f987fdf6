"""Who submits the jobs of benchmarks."""

from __future__ import annotations

from uuid import uuid4

from django.contrib.auth.models import User

from jobs.keys import generate_key
from jobs.services import create_client, install_key


def api_key() -> str:
    """A key of a new client."""
    owner, _ = User.objects.get_or_create(username="benchmark")
    key = generate_key()
    install_key(client=create_client(owner=owner, name=uuid4().hex), key=key)
    return key
