"""What the console keeps."""

from performance.models.findings import Finding, Kind
from performance.models.records import Aggregate, Cursor, Sample, Subject, Value
from performance.models.statements import StatementTotals

__all__ = [
    "Aggregate",
    "Cursor",
    "Finding",
    "Kind",
    "Sample",
    "StatementTotals",
    "Subject",
    "Value",
]
