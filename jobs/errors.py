"""Why a scrape ends without a result: one class a cause.

The docstring is the default message a client reads, `code` is stable for programs, and
`permanent` decides whether the engine tries again.
"""

from __future__ import annotations

import inspect
from typing import ClassVar


class ScrapeError(Exception):
    """The scrape failed."""

    code: ClassVar[str] = "internal_error"
    permanent: ClassVar[bool] = False

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        """`retry_after` is the number of seconds the target asked us to wait, when it did."""
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        self.retry_after = retry_after
        super().__init__(self.message)


class BlockedTarget(ScrapeError):
    """The URL leads to an address that this service does not fetch from."""

    code = "blocked_target"
    permanent = True


class InvalidTarget(ScrapeError):
    """The URL, or one it redirects to, cannot be fetched as it is written."""

    code = "invalid_target"
    permanent = True


class FetchTimeout(ScrapeError):
    """The target did not answer completely within the job's timeout."""

    code = "timeout"


class DNSFailure(ScrapeError):
    """The host name could not be resolved."""

    code = "dns_error"


class ConnectionFailed(ScrapeError):
    """The connection to the target failed or broke."""

    code = "connection_error"


class TooManyRedirects(ScrapeError):
    """The target redirected more than 10 times."""

    code = "too_many_redirects"
    permanent = True


class TooLarge(ScrapeError):
    """The document is larger than this service accepts."""

    code = "too_large"
    permanent = True


class ClientErrorStatus(ScrapeError):
    """The target answered with a 4xx status."""

    code = "http_4xx"
    permanent = True


class Throttled(ClientErrorStatus):
    """The target asked for slower requests."""

    permanent = False


class ServerErrorStatus(ScrapeError):
    """The target answered with a 5xx status."""

    code = "http_5xx"


class UnreadableDocument(ScrapeError):
    """The document could not be read as HTML or JSON."""

    code = "unreadable_document"
    permanent = True


class UnstorableResult(ScrapeError):
    """The extracted result could not be stored."""

    code = "unstorable_result"
    permanent = True


class WorkerLost(ScrapeError):
    """The worker that ran this job stopped reporting."""

    code = "worker_lost"
