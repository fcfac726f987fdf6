"""Web CPU: requests are ready to go on, and their process is busy computing for others."""

from __future__ import annotations

from collections import Counter
from math import ceil
from typing import TYPE_CHECKING

from performance.analysis.bottlenecks.evidence import WEB
from performance.analysis.bottlenecks.hub_blocking import blocked, observed, share_of_lag
from performance.analysis.bottlenecks.shapes import (
    YELLOW_FROM,
    Bottleneck,
    Change,
    Figure,
    percent,
)

if TYPE_CHECKING:
    from performance.analysis.bottlenecks.evidence import Evidence

NAME = "web_cpu"
TITLE = "Web CPU"
# The share of a core at which a process has time to spare for peaks.
COMFORTABLE = 0.6


def web_cpu(evidence: Evidence) -> Bottleneck | None:
    """Time that requests were held up, without that of blocking calls, which is no computing."""
    held_up = evidence.sum("request.lag") * (1 - share_of_lag(evidence, blocked(evidence, WEB)))
    severity = evidence.of_users(held_up)
    if severity < YELLOW_FROM:
        return None
    processes = of_a_machine(evidence)
    use = utilisation(evidence)
    lag = evidence.spread("lag", WEB)
    return Bottleneck(
        NAME,
        TITLE,
        severity,
        "users",
        "requests that could go on wait for a web process that computes for others",
        [
            Figure("Requests were held up", held_up, "ms", "request.lag"),
            Figure("Hub lag p99", lag.p99, "ms", "lag"),
            Figure("Use of a core by each process", 100 * use, "percent", "request.cpu"),
            Figure("Web processes of a machine", processes, "number", "process"),
            Figure("Cores", evidence.cores(WEB), "number", "process"),
            Figure("Requests", evidence.count("request"), "number", "request"),
        ],
        change(evidence, processes, use),
        "Requests seldom find their process busy.",
        ("page", "processes"),
    )


def of_a_machine(evidence: Evidence) -> int:
    """How many web processes a machine has; an instance is named by its machine and its number."""
    machines = Counter(instance.rpartition("/")[0] for instance in evidence.of_role(WEB))
    return max(machines.values(), default=0)


def utilisation(evidence: Evidence) -> float:
    """The share of a core that a web process uses: over the window, or now when that is more."""
    seconds = observed(evidence, WEB)
    lately = evidence.sum("request.cpu") / 1000 / seconds if seconds else 0.0
    told = [one.get("cpu") or 0.0 for one in evidence.of_role(WEB, "memory").values()]
    now = sum(told) / len(told) / 100 if told else 0.0
    return float(min(max(lately, now), 1.0))


def change(evidence: Evidence, processes: int, use: float) -> Change:
    """More processes while there are cores for them, then more cores."""
    if not processes:
        return Change("Raise WEB_CONCURRENCY. By how much is not known: no web process runs now.")
    cores = evidence.cores(WEB)
    wanted = max(ceil(processes * use / COMFORTABLE), processes + 1)
    if processes < cores:
        return Change(
            f"A process computes on one core at a time: with {percent(COMFORTABLE)} of it in use "
            "there is room for peaks. Each has a pool of its own: see the connection budget.",
            "WEB_CONCURRENCY",
            processes,
            min(wanted, cores),
        )
    return Change(
        f"All {cores} cores have a web process: give the machine more, or add a machine.",
        "cores",
        cores,
        max(wanted, cores + 1),
    )
