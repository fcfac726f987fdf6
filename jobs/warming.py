"""What the cache of jobs is filled with before anybody asks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cachelayer.warming import warmer
from jobs.keys import ParsedKey
from jobs.models import ApiKey
from jobs.services import client_behind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_KEYS = 10_000


@warmer("api-keys", at_start=True)
def api_keys() -> Iterator[Callable[[], object]]:
    """The newest keys in use: otherwise each is asked for at its first request after a restart."""
    active = ApiKey.objects.filter(revoked_at=None, client__is_active=True)
    for key in active.order_by("-created_at")[:MOST_KEYS]:
        yield partial(client_behind, ParsedKey(key.id, bytes(key.digest)))
