"""What `jobs` reads from Django's settings: the only place that does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings


@dataclass(frozen=True)
class JobSettings:
    """The `JOBS` setting; durations are seconds and sizes bytes."""

    default_timeout: float
    default_max_attempts: int
    max_connections: int
    user_agent: str
    max_body_size: int
    allowed_addresses: tuple[str, ...]
    domain_concurrency: int
    domain_delay: float
    client_concurrency: int
    crash_limit: int
    worker_concurrency: int
    bind_host: str
    worker_health_port: int
    lease: float
    drain_timeout: float
    off_peak_hours: str
    off_peak_timezone: str
    result_retention_days: int
    history_retention_days: int


@cache
def job_settings() -> JobSettings:
    """The process's settings for jobs."""
    configured: dict[str, Any] = settings.JOBS
    return JobSettings(**configured)
