"""Why a scrape ends without a result: one class a cause.

The docstring is the default message a client reads, `code` is stable for programs. What follows
from a cause is data too:

permanent         no other attempt, since it would end in the same way
backoff           seconds before the second attempt, growing from there
is_host_trouble   the host itself is in trouble, whichever of its pages is asked for
is_throttling     the host wants fewer requests
"""

from __future__ import annotations

import inspect
from typing import ClassVar


class ScrapeError(Exception):
    """The scrape failed."""

    code: ClassVar[str] = "internal_error"
    permanent: ClassVar[bool] = False
    backoff: ClassVar[float] = 2.0
    is_host_trouble: ClassVar[bool] = False
    is_throttling: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: float | None = None,
        phases: dict[str, float] | None = None,
    ) -> None:
        """`retry_after` is the number of seconds the target asked us to wait, when it did.

        `phases` says where the fetch spent its time, in milliseconds: see
        `jobs.fetching.phases`. It is empty when nothing was fetched.
        """
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        self.retry_after = retry_after
        self.phases = phases or {}
        super().__init__(self.message)


class BlockedTarget(ScrapeError):
    """The URL leads to an address that this service does not fetch from."""

    code = "blocked_target"
    permanent = True


class InvalidTarget(ScrapeError):
    """The URL, or one it redirects to, cannot be fetched as it is written."""

    code = "invalid_target"
    permanent = True


class RobotsDenied(ScrapeError):
    """The site's robots.txt disallows this URL. Ask the site for permission or for an API."""

    code = "robots_denied"
    permanent = True


class RobotsUnreachable(ScrapeError):
    """The site's robots.txt could not be read, which means "stay away" until it can be."""

    code = "robots_unreachable"
    backoff = 10.0
    is_host_trouble = True


class FetchTimeout(ScrapeError):
    """The target did not answer completely within the job's timeout."""

    code = "timeout"
    backoff = 5.0
    is_host_trouble = True


class DNSFailure(ScrapeError):
    """The host name could not be resolved."""

    code = "dns_error"
    backoff = 10.0
    is_host_trouble = True


class ConnectionFailed(ScrapeError):
    """The connection to the target failed or broke."""

    code = "connection_error"
    is_host_trouble = True


class TLSFailure(ConnectionFailed):
    """The TLS connection to the target could not be set up."""

    code = "tls_error"
    backoff = 10.0


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


class TransientClientError(ClientErrorStatus):
    """The target asked for the same request again, later."""

    permanent = False
    backoff = 5.0


class Throttled(ClientErrorStatus):
    """The target asked for slower requests."""

    code = "rate_limited"
    permanent = False
    backoff = 30.0
    is_host_trouble = True
    is_throttling = True


class ServerErrorStatus(ScrapeError):
    """The target answered with a 5xx status."""

    code = "http_5xx"
    is_host_trouble = True


class Overloaded(ServerErrorStatus):
    """The target is unavailable for now."""

    backoff = 30.0
    is_throttling = True


class BlockedPage(ScrapeError):
    """The target showed a bot wall instead of the page. Slow down, or ask the site for access."""

    code = "blocked_page"
    backoff = 30.0
    is_throttling = True


class EmptyPage(ScrapeError):
    """The page has no visible content. If scripts fill it, this service sees it before they do."""

    code = "empty_page"
    backoff = 10.0  # an overloaded server's empty answer is often fine a moment later


class ExtractionEmpty(ScrapeError):
    """The extraction spec found no record. Check its selectors against the page as served."""

    code = "extraction_empty"
    permanent = True


class UnreadableDocument(ScrapeError):
    """The document could not be read as HTML or JSON."""

    code = "unreadable_document"
    permanent = True


class ParserFailed(ScrapeError):
    """The document could not be parsed within limits. Ask for less of it or a smaller page."""

    code = "parser_failed"
    permanent = True


class UnstorableResult(ScrapeError):
    """The extracted result could not be stored."""

    code = "unstorable_result"
    permanent = True


class WorkerLost(ScrapeError):
    """The worker that ran this job stopped reporting."""

    code = "worker_lost"
