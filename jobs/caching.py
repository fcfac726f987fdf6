"""Everything of jobs that is cached: for how long, and what ends it. docs/caching.md is its table.

Every key of a client's things begins with the client's id, so that no client can meet another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cachelayer.conf import cache_settings
from cachelayer.invalidation import depends_on
from cachelayer.policy import Policy
from cachelayer.tiered import TieredCache

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

MEDIA_TYPE = "application/json"

# A job that has ended never changes again, nor does its result.
FINAL = Policy(ttl=cache_settings().default_ttl, local_ttl=300)
# One that has not is kept in memory only: every change of it is told to all processes.
CHANGING = Policy(ttl=1, local_ttl=1, remote=False)
LISTED = Policy(ttl=10, local_ttl=2)
# Dear to load, and out of date with the next commit: they say of what moment they are instead.
COUNTED = Policy(ttl=10, local_ttl=10)
# Made of the code alone.
CONFIGURATION = Policy(ttl=3600, local_ttl=300, remote=False)
KNOWN_KEY = Policy(ttl=300, stale_for=0, negative_ttl=5, local_ttl=5)

# RFC 9309, section 2.4: not older than a day.
ROBOTS_TXT = Policy(ttl=86_400, local_ttl=300)

API_KEYS_TAG = "api-keys"


def by_finality(kept: Any) -> Policy:
    """Answers that never change again live long."""
    return FINAL if kept["final"] else CHANGING


STATUS = TieredCache("job", by_finality, one_load_in_fleet=False)
RESULTS = TieredCache("result", FINAL, one_load_in_fleet=False)
BATCHES = TieredCache("batch", LISTED)
LISTINGS = TieredCache("jobs", LISTED)
STATISTICS = TieredCache("statistics", COUNTED)
SCHEMA = TieredCache("schema", CONFIGURATION)
ROBOTS = TieredCache("robots", ROBOTS_TXT)
API_KEYS = TieredCache("api-key", KNOWN_KEY, version=2)


def status_key(client_id: UUID, job_id: UUID) -> str:
    """Where a job's status is kept."""
    return STATUS.key((client_id, job_id, MEDIA_TYPE))


def result_key(client_id: UUID, job_id: UUID) -> str:
    """Where a job's result is kept."""
    return RESULTS.key((client_id, job_id, MEDIA_TYPE))


def listing_tag(client_id: UUID) -> str:
    """What every listing of a client's jobs depends on."""
    return f"jobs:{client_id.hex}"


def batch_tag(batch_id: UUID) -> str:
    """What a batch's counts depend on."""
    return f"batch:{batch_id.hex}"


def change_tags(client_id: UUID, batch_ids: Iterable[UUID | None]) -> set[str]:
    """What depends on the state of a client's jobs in these batches."""
    return {listing_tag(client_id)} | {batch_tag(one) for one in batch_ids if one}


def connect() -> None:
    """Let changes of keys and clients end what was cached of them."""
    from jobs.models import ApiKey, Client

    for model in (ApiKey, Client):
        depends_on(model, lambda _instance: (API_KEYS_TAG,), bulk=(API_KEYS_TAG,))
