"""Examples for the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample

PREVIEW = OpenApiExample(
    "What a vacuum would do",
    {
        "action": "vacuum",
        "arguments": {"table": "jobs_job"},
        "dry_run": True,
        "says": "Clears about 48,210 dead rows from jobs_job; others go on working with it.",
        "figures": [
            {"label": "Table", "value": 84_213_760, "unit": "bytes"},
            {"label": "Dead rows", "value": 48_210, "unit": "number"},
            {"label": "Takes about", "value": 1.4, "unit": "seconds"},
        ],
        "warnings": [],
    },
    response_only=True,
    status_codes=["200"],
)
RUN = OpenApiExample(
    "A vacuum that was asked for",
    {
        "id": "7d0a4a0e-53b3-4dc1-8f5c-0d4a1a3f2c11",
        "action": "vacuum",
        "arguments": {"table": "jobs_job"},
        "by": "operations (API)",
        "asked_at": "2026-01-05T06:30:00Z",
        "state": "running",
        "outcome": "",
        "seconds": None,
        "links": {"self": "/api/v1/performance/actions/7d0a4a0e-53b3-4dc1-8f5c-0d4a1a3f2c11"},
    },
    response_only=True,
    status_codes=["202"],
)
DATABASE = [
    OpenApiExample("Preview", {"action": "vacuum", "table": "jobs_job"}, request_only=True),
    OpenApiExample(
        "Do it",
        {"action": "vacuum", "table": "jobs_job", "dry_run": False},
        request_only=True,
    ),
    PREVIEW,
    RUN,
]
CACHING = [
    OpenApiExample("Preview", {"action": "clear", "namespace": "jobs"}, request_only=True),
    OpenApiExample(
        "Do it",
        {"action": "warm", "namespace": "api-keys", "dry_run": False},
        request_only=True,
    ),
]
MONITOR = OpenApiExample(
    "One card is not well",
    {
        "as_of": "2026-01-05T06:30:00Z",
        "level": "yellow",
        "cards": [
            {
                "name": "requests",
                "title": "Requests",
                "level": "yellow",
                "reason": "one request in twenty takes more than 412 ms",
                "facts": [
                    {
                        "label": "p95", "value": 412.0, "unit": "ms", "level": "yellow",
                        "is_estimated": False,
                    }
                ],
            }
        ],
    },
    response_only=True,
    status_codes=["200"],
)  # fmt: skip
CARDS = OpenApiExample(
    "One table of one card",
    {
        "as_of": "2026-01-05T06:30:00Z",
        "period": "1h",
        "process": "",
        "cards": [
            {
                "name": "n-plus-one",
                "title": "N+1",
                "health": {"level": "yellow", "reason": "1 view asks in a loop"},
                "facts": [],
                "tables": [
                    {
                        "name": "findings",
                        "title": "Findings",
                        "columns": [
                            {"key": "view", "label": "View", "unit": "code"},
                            {"key": "wasted", "label": "Wasted an hour", "unit": "ms"},
                        ],
                        "rows": [{"view": "GET /api/v1/jobs", "wasted": 1830.5}],
                    }
                ],
                "note": "",
                "error": "",
            }
        ],
    },
    response_only=True,
    status_codes=["200"],
)
