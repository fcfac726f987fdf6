"""Telling clients what became of their jobs, as Standard Webhooks asks.

PostgreSQL writes a delivery with the event, every worker sends what is due, and the API lets
clients look after their endpoints. https://www.standardwebhooks.com, version 1.0.0.
"""

from jobs.webhooks.delivery import deliver
from jobs.webhooks.sending import Sender

__all__ = ["Sender", "deliver"]
