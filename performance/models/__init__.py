"""What the console keeps."""

from performance.models.alerts import (
    Alert,
    AlertChannel,
    AlertNotice,
    AlertRule,
    AlertState,
    Severity,
)
from performance.models.captures import Capture
from performance.models.findings import Finding, Kind
from performance.models.records import Aggregate, Cursor, Sample, Subject, Value
from performance.models.runs import BenchmarkRun, BottleneckReport, Deploy
from performance.models.statements import StatementTotals

__all__ = [
    "Aggregate",
    "Alert",
    "AlertChannel",
    "AlertNotice",
    "AlertRule",
    "AlertState",
    "BenchmarkRun",
    "BottleneckReport",
    "Capture",
    "Cursor",
    "Deploy",
    "Finding",
    "Kind",
    "Sample",
    "Severity",
    "StatementTotals",
    "Subject",
    "Value",
]
