"""Which cards stand on which page: the whole console at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from performance.cards.actions import ActionsCard
from performance.cards.activity import ActivityCard
from performance.cards.alerts import AlertsCard
from performance.cards.benchmarks import BenchmarksCard
from performance.cards.bottlenecks import BottlenecksCard
from performance.cards.budget import BudgetCard
from performance.cards.cache import CacheCard
from performance.cards.captures import CapturesCard
from performance.cards.checks import ChecksCard
from performance.cards.database import DatabaseCard
from performance.cards.domains import DomainsCard
from performance.cards.errors import ErrorsCard
from performance.cards.indexes import IndexesCard
from performance.cards.lag import LagCard
from performance.cards.leaks import LeaksCard
from performance.cards.memory import MemoryCard
from performance.cards.nplusone import NPlusOneCard
from performance.cards.pools import PoolsCard
from performance.cards.processes import ProcessesCard
from performance.cards.queries import QueriesCard
from performance.cards.queue import QueueCard
from performance.cards.requests import RequestsCard
from performance.cards.tables import TablesCard
from performance.cards.workers import WorkersCard

if TYPE_CHECKING:
    from performance.cards.shapes import Card


@dataclass(frozen=True, slots=True)
class Page:
    """`slug` is its address, `about` says in a sentence what it answers."""

    slug: str
    title: str
    about: str
    cards: tuple[Card, ...]


OVERVIEW = Page(
    "",
    "Overview",
    "Is everything well, and if not, where to look.",
    # What the cards of all others say, in brief.
    (),
)

PAGES = {
    page.slug: page
    for page in (
        OVERVIEW,
        Page("alerts", "Alerts", "What somebody must look at, and who does.", (AlertsCard(),)),
        Page(
            "bottlenecks",
            "Bottlenecks",
            "What limits the service, and what to change first.",
            (BottlenecksCard(),),
        ),
        Page("requests", "Requests", "What users wait for, by view.", (RequestsCard(),)),
        Page(
            "queries", "Queries", "What PostgreSQL is asked, and by which line.", (QueriesCard(),)
        ),
        Page("n-plus-one", "N+1", "Queries that could be one, and how.", (NPlusOneCard(),)),
        Page(
            "database",
            "Database",
            "What PostgreSQL spends its time and space on, and who waits for whom.",
            (DatabaseCard(), ActivityCard(), TablesCard(), IndexesCard()),
        ),
        Page(
            "pools",
            "Pools",
            "Who has connections, who waits for one, and who does not give them back.",
            (PoolsCard(), LeaksCard(), BudgetCard()),
        ),
        Page("cache", "Cache", "What both levels save, and what they cannot.", (CacheCard(),)),
        Page(
            "queue",
            "Queue and workers",
            "How much waits, for how long, and who works it off.",
            (QueueCard(), WorkersCard()),
        ),
        Page("domains", "Domains", "How the sites answer that we scrape.", (DomainsCard(),)),
        Page("memory", "Memory", "Who has how much, and what is not given back.", (MemoryCard(),)),
        Page(
            "processes",
            "Processes",
            "Who runs, how busy they are, and what holds them up.",
            (ProcessesCard(), LagCard()),
        ),
        Page(
            "profiles",
            "Profiles",
            "Deep looks into a process, or at the requests of a view.",
            (CapturesCard(),),
        ),
        Page("errors", "Errors", "What went wrong, from where.", (ErrorsCard(),)),
        Page("benchmarks", "Benchmarks", "What was measured, of which code.", (BenchmarksCard(),)),
        Page("actions", "Actions", "What can be done here, and what was.", (ActionsCard(),)),
        Page("checks", "Checks", "Whether the known traps are closed.", (ChecksCard(),)),
    )
}
CARDS = {card.name: card for page in PAGES.values() for card in page.cards}
