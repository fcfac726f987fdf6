"""The performance API's paths, below `/api/v1/performance/`."""

from django.urls import path
from rest_framework.views import APIView

from performance.api import examples
from performance.api.payloads import CachingDeed, DatabaseDeed
from performance.api.views import MonitorView, RunView, cards_view, optimize_view

VIEWS: dict[str, type[APIView]] = {
    "monitor": MonitorView,
    "stats": cards_view(
        "get_performance_stats",
        "Read the numbers behind requests, queue, workers, cache and pools.",
        *("requests", "queue", "workers", "cache", "pools"),
    ),
    "bottlenecks": cards_view(
        "get_performance_bottlenecks",
        "Read what limits the service, with the evidence and the setting to change.",
        "bottlenecks",
    ),
    "slow-queries": cards_view(
        "get_performance_slow_queries",
        "Read what PostgreSQL is asked, the costliest first, with the line that asks; and what "
        "PostgreSQL itself counts.",
        *("queries", "database"),
    ),
    "pools": cards_view(
        "get_performance_pools",
        "Read who has connections, who waits for one, who does not give them back, and the budget.",
        *("pools", "leaks", "budget"),
    ),
    "n-plus-one": cards_view(
        "get_performance_n_plus_one",
        "Read which views ask in a loop what one query could answer, and how to mend them.",
        "n-plus-one",
    ),
    "alerts": cards_view(
        "get_performance_alerts",
        "Read what fires, what was acknowledged, and the rules with their present values.",
        "alerts",
    ),
    "optimize/database": optimize_view(
        "optimize_database",
        "Vacuum or analyse a table, create a suggested index, or reset statement statistics.",
        DatabaseDeed,
        examples.DATABASE,
    ),
    "optimize/caching": optimize_view(
        "optimize_caching",
        "Warm the cache, or clear a namespace.",
        CachingDeed,
        examples.CACHING,
    ),
    "actions/<uuid:run_id>": RunView,
}
urlpatterns = [path(address, view.as_view()) for address, view in VIEWS.items()]
