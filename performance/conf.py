"""What `performance` reads from Django's settings: the only place that does."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.conf import settings


@dataclass(frozen=True)
class PerformanceSettings:
    """The `PERFORMANCE` setting; times are seconds.

    `most_cost` is the share of a process's work that watching it may take before fewer things are
    looked at. A query is slow, then very slow; a connection that is held for longer than
    `leak_after` is a leak; what holds up a hub or a loop for `blocking_after` is a blocking call.
    A process that grows by more than `memory_slope` bytes an hour may have a leak.
    `revision` says which code this is; empty: git does.
    Prometheus finds web processes at `metrics_port`, and workers behind it; 0 is nowhere.
    `alert_rules` has what operators change of rules by their names (`performance.alerts`), as
    `{"queue_age": {"threshold": 1800}}`. Mails come from `mail_from`; empty: none are sent. Links
    in what is told begin with `public_url`.
    """

    enabled: bool = True
    most_cost: float = 0.05
    slow_query: float = 1.0
    very_slow_query: float = 5.0
    leak_after: float = 30.0
    blocking_after: float = 0.1
    memory_slope: float = 30 * 1024 * 1024
    revision: str = ""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    alert_rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    mail_from: str = ""
    public_url: str = ""
    instance: str = field(default_factory=lambda: f"{socket.gethostname()}/{os.getpid()}")


@cache
def performance_settings() -> PerformanceSettings:
    """The process's settings for the console."""
    configured: dict[str, Any] = getattr(settings, "PERFORMANCE", {})
    return PerformanceSettings(**configured)


# A child process is another instance.
os.register_at_fork(after_in_child=performance_settings.cache_clear)
