"""The performance API's paths, below `/api/v1/performance/`."""

from django.urls import path

from performance.api.views import (
    MonitorView,
    OptimizeCachingView,
    OptimizeDatabaseView,
    RunView,
    cards_view,
)

Stats = cards_view(
    "get_performance_stats",
    "Read the numbers behind requests, queue, workers, cache and pools.",
    *("requests", "queue", "workers", "cache", "pools"),
)
Bottlenecks = cards_view(
    "get_performance_bottlenecks",
    "Read what limits the service, with the evidence and the setting to change.",
    "bottlenecks",
)
SlowQueries = cards_view(
    "get_performance_slow_queries",
    "Read what PostgreSQL is asked, the costliest first, with the line that asks; and what "
    "PostgreSQL itself counts.",
    *("queries", "database"),
)
Pools = cards_view(
    "get_performance_pools",
    "Read who has connections, who waits for one, who does not give them back, and the budget.",
    *("pools", "leaks", "budget"),
)
NPlusOne = cards_view(
    "get_performance_n_plus_one",
    "Read which views ask in a loop what one query could answer, and how to mend them.",
    "n-plus-one",
)
Alerts = cards_view(
    "get_performance_alerts",
    "Read what fires, what was acknowledged, and the rules with their present values.",
    "alerts",
)

urlpatterns = [
    path("monitor", MonitorView.as_view()),
    path("stats", Stats.as_view()),
    path("bottlenecks", Bottlenecks.as_view()),
    path("slow-queries", SlowQueries.as_view()),
    path("pools", Pools.as_view()),
    path("n-plus-one", NPlusOne.as_view()),
    path("alerts", Alerts.as_view()),
    path("optimize/database", OptimizeDatabaseView.as_view()),
    path("optimize/caching", OptimizeCachingView.as_view()),
    path("actions/<uuid:run_id>", RunView.as_view()),
]
