"""Ids of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uuid_utils.compat

if TYPE_CHECKING:
    from uuid import UUID


def new_id() -> UUID:
    """A UUIDv7: ordered by time, so that a key is also a creation order."""
    return uuid_utils.compat.uuid7()
