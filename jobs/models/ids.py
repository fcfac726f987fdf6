"""Ids of rows."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING
from uuid import UUID

import uuid_utils.compat

if TYPE_CHECKING:
    from datetime import datetime


def new_id() -> UUID:
    """A UUIDv7: ordered by time, so that a key is also a creation order."""
    return uuid_utils.compat.uuid7()


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7 of a millisecond (RFC 9562, section 5.7)."""
    milliseconds = max(0, int(moment.astimezone(UTC).timestamp() * 1000))
    return UUID(int=(milliseconds & (2**48 - 1)) << 80)
