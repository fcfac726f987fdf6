"""What the cache layer reads from Django's settings: the `CACHELAYER` dictionary, once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings


@dataclass(frozen=True)
class CacheSettings:
    """Sizes in bytes, times in seconds.

    `alias` names the entry of CACHES whose server is level 2. `local_ttl` is how long level 1 keeps
    what may change, and so the longest that a lost invalidation can matter; what never changes may
    ask for up to `local_max_ttl`. `ttl_jitter` is the part of a lifetime by which entries of the
    same age may differ.
    """

    alias: str = "default"
    prefix: str = "cache"
    local_max_bytes: int = 104_857_600
    local_ttl: float = 5.0
    local_max_ttl: float = 300.0
    default_ttl: float = 3600.0
    ttl_jitter: float = 0.1
    compress_above: int = 8_192
    largest_entry: int = 1_048_576
    breaker_failures: int = 5
    breaker_reset: float = 5.0


@cache
def cache_settings() -> CacheSettings:
    """The process's settings for the cache layer."""
    configured: dict[str, Any] = getattr(settings, "CACHELAYER", {})
    return CacheSettings(**configured)
