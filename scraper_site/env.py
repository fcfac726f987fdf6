"""The environment, read once, typed and checked; the only place that reads it.

Every field is a variable of the same name in capitals. The table in `docs/configuration.md` is
written from this class by `manage.py configuration`.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class EnvironmentInvalid(SystemExit):
    """The environment holds values that this service cannot run with."""


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _decode(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("not JSON") from None


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("not an IANA time zone, as `Europe/Berlin` is")
    return name


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]


class RuleChanges(BaseModel):
    """What is changed of an alert rule; what is not set is as the rule has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    enabled: bool = True
    threshold: FiniteFloat = 0.0
    severity: Literal["page", "ticket"] = "ticket"
    holds_for: FiniteFloat = Field(default=0.0, ge=0)


Changes = Annotated[dict[str, RuleChanges], NoDecode, BeforeValidator(_decode)]


class Environment(BaseSettings):
    """What an operator can set; durations are seconds and sizes bytes."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    secret_key: SecretStr = Field(
        min_length=32, description="Signs sessions and cursors. Random, 32 characters or more."
    )
    debug: bool = Field(default=False, description="Django's debug pages. Never in production.")
    allowed_hosts: CommaSeparated = Field(
        default=("localhost", "127.0.0.1"), description="Host names this service answers to."
    )
    csrf_trusted_origins: CommaSeparated = Field(
        default=(), description="Origins (`https://host`) allowed to post admin forms."
    )
    https: bool = Field(
        default=True,
        description="Users reach the service by HTTPS: secure cookies, redirect and HSTS.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least severe record that is logged."
    )
    process_role: str = Field(
        default="command",
        pattern=r"^[a-z]{1,16}$",
        description="What this process is (`web`, `worker`, …); the entry points set it.",
    )
    bind_host: str = Field(
        default="127.0.0.1",
        description="Address the web server binds to; `0.0.0.0` in a container.",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="Where the web server listens.")
    web_concurrency: int = Field(default=2, ge=1, le=64, description="Web server processes.")

    database_url: str = Field(
        pattern=r"^postgres(ql)?://",
        description="PostgreSQL 14 or newer; a socket as `?host=/dir`.",
    )
    db_pool_size: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Connections each web process keeps open: the pool's minimum.",
    )
    db_max_overflow: int = Field(
        default=30,
        ge=0,
        le=1000,
        description="Connections it may open beyond `DB_POOL_SIZE`: the pool's maximum is the sum.",
    )
    db_pool_timeout: float = Field(
        default=3, gt=0, le=60, description="Wait for a free connection before answering 503."
    )
    db_pool_recycle: int = Field(
        default=3600, ge=60, description="Age at which a pooled connection is replaced."
    )
    db_connect_timeout: int = Field(
        default=5, ge=1, le=60, description="Wait for one attempt to connect to PostgreSQL."
    )
    db_connect_retry: float = Field(
        default=30,
        ge=0,
        le=600,
        description="How long commands and workers keep trying to connect, with backoff.",
    )
    db_statement_timeout: int = Field(
        default=30, ge=1, description="PostgreSQL ends a statement that runs longer."
    )
    db_idle_in_transaction_timeout: int = Field(
        default=60, ge=1, description="PostgreSQL ends a session idle inside a transaction."
    )

    redis_url: str = Field(
        pattern=r"^(rediss?(\+sentinel|\+cluster)?|unix)://",
        description=(
            "Valkey or Redis: `redis://`, `rediss://`, `unix://`, `redis+sentinel://h1:p,h2:p/name`,"
            " `redis+cluster://h1:p,h2:p`. Disposable: losing it loses speed and nothing else."
        ),
    )
    redis_max_connections: int = Field(
        default=50, ge=1, description="Connections a process may hold to it."
    )
    redis_health_check_interval: int = Field(
        default=30, ge=0, description="Idle age after which a connection is checked before use."
    )
    cache_default_ttl: int = Field(default=3600, ge=1, description="Lifetime of a cached value.")
    cache_max_memory_size: int = Field(
        default=104_857_600,
        ge=1_048_576,
        description="Bytes of cached values in each process, and in the embedded Valkey.",
    )

    http_timeout: float = Field(
        default=30, gt=0, le=300, description="A job's `timeout` when it names none."
    )
    http_max_connections: int = Field(
        default=100, ge=1, le=10_000, description="Connections a worker holds to targets."
    )
    http_max_retries: int = Field(
        default=3, ge=0, le=19, description="Retries of a failing scrape: `max_attempts` less one."
    )
    http_max_body_size: int = Field(
        default=10_485_760, ge=1024, description="Largest document accepted, decompressed."
    )
    http_user_agent: str = Field(
        default="scraper-site/0.1",
        min_length=1,
        description="How the fetcher names itself to targets; say how to reach you.",
    )
    fetch_allowed_addresses: CommaSeparated = Field(
        default=(),
        description="Non-public `ip:port` or CIDR that may be scraped all the same.",
    )
    domain_concurrency: int = Field(
        default=8,
        ge=0,
        le=10_000,
        description="Scrapes of one host at once, over all workers; 0 is no limit.",
    )
    domain_delay: float = Field(
        default=0, ge=0, le=3600, description="Time between two starts at one host."
    )
    client_concurrency: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Jobs of one client that run at once, over all workers; 0 is no limit.",
    )
    crash_limit: int = Field(
        default=3,
        ge=1,
        le=20,
        description="Times that a job may take its worker down before it is given up.",
    )
    worker_concurrency: int = Field(
        default=100, ge=2, le=10_000, description="Scrapes a worker process runs at once."
    )
    worker_health_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Where a worker answers `/health/live` and `/health/ready`; 0 is nowhere.",
    )
    worker_lease: float = Field(
        default=30,
        ge=2,
        le=600,
        description="A worker silent for so long has lost its jobs to the others.",
    )
    worker_drain_timeout: float = Field(
        default=25, ge=0, le=300, description="Time that running scrapes get after SIGTERM."
    )

    off_peak_hours: str = Field(
        default="",
        pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$",
        description="When jobs with `off_peak` may run, as `22:00-06:00`; empty is always.",
    )
    off_peak_timezone: TimeZone = Field(
        default="UTC", description="The time zone of `OFF_PEAK_HOURS`, by its IANA name."
    )
    result_retention_days: int = Field(
        default=30,
        ge=0,
        le=36_500,
        description="Days that a result is kept after its job has ended; 0 is for ever.",
    )
    history_retention_days: int = Field(
        default=365,
        ge=0,
        le=36_500,
        description="Days that a job is kept with its attempts after it has ended; 0 is for ever.",
    )

    revision: str = Field(
        default="",
        max_length=100,
        description="Which code this is, for the console's deploy markers; empty: git is asked.",
    )
    performance_enabled: bool = Field(
        default=True,
        description="Record what the performance console shows. Without it, a connection that a "
        "request has leaked is not given back at its end either.",
    )
    metrics_port: int = Field(
        default=9100,
        ge=0,
        le=65_535,
        description=(
            "Where all web processes tell Prometheus `/metrics`; each worker takes the first port"
            " after it that is free. 0 is nowhere."
        ),
    )
    performance_most_cost: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="Share of a process's work that watching it may take; then less is looked at.",
    )
    alert_rules: Changes = Field(
        default={},
        description=(
            'Changes of alert rules as JSON, as `{"queue_age": {"threshold": 1800}}`: `enabled`,'
            " `threshold`, `severity` (`page`, `ticket`), `holds_for`."
        ),
    )
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s?#]+)?$",
        description="Where people reach this service, as `https://host`, for links in alerts.",
    )
    email_host: str = Field(
        default="", description="The mail server that alerts are sent by; empty: no mails."
    )
    email_port: int = Field(default=587, ge=1, le=65_535, description="Its port.")
    email_user: str = Field(default="", description="Its user; empty: no login.")
    email_password: SecretStr = Field(default=SecretStr(""), description="The user's password.")
    email_security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection to it is encrypted."
    )
    email_from: str = Field(
        default="alerts@localhost",
        pattern=r"^[^@\s]+@[^@\s]+$",
        description="The sender of mails.",
    )


@cache
def environment() -> Environment:
    """The process's environment.

    Raises `EnvironmentInvalid` naming every variable that is missing or wrong, without its value.
    """
    try:
        return Environment()
    except ValidationError as error:
        problems = "\n".join(
            f"  {place(*item['loc'])}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise EnvironmentInvalid(
            f"The environment is not usable (see docs/configuration.md):\n{problems}"
        ) from None


def place(name: str | int, *members: str | int) -> str:
    """A variable, and where in its JSON: `ALERT_RULES (queue_age.threshold)`."""
    inside = f" ({'.'.join(map(str, members))})" if members else ""
    return f"{str(name).upper()}{inside}"
