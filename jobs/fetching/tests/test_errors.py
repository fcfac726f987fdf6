from __future__ import annotations

import pytest

from jobs import errors
from jobs.errors import ScrapeError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ScrapeError)
]


def codes(**facts: bool) -> set[str]:
    return {k.code for k in KINDS if all(getattr(k, f) is v for f, v in facts.items())}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_code_and_a_message_for_the_client(kind: type[ScrapeError]) -> None:
    assert kind.code.replace("_", "").isalnum()
    assert kind().message.endswith(".")
    assert (kind().phases, kind().retry_after) == ({}, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_permanent_error_asks_for_no_slower_requests(kind: type[ScrapeError]) -> None:
    assert not (kind.permanent and (kind.is_throttling or kind.is_host_trouble))


def test_kinds_that_share_a_code_are_kinds_of_one_another() -> None:
    for kind in KINDS:
        for other in KINDS:
            if kind.code == other.code:
                assert issubclass(kind, other) or issubclass(other, kind)


def test_the_codes_are_those_that_clients_know() -> None:
    assert {kind.code for kind in KINDS} == {
        "blocked_page",
        "blocked_target",
        "connection_error",
        "dns_error",
        "empty_page",
        "extraction_empty",
        "http_4xx",
        "parser_failed",
        "http_5xx",
        "internal_error",
        "invalid_target",
        "rate_limited",
        "robots_denied",
        "robots_unreachable",
        "timeout",
        "tls_error",
        "too_large",
        "too_many_redirects",
        "unreadable_document",
        "unstorable_result",
        "worker_lost",
    }


def test_trouble_of_the_host_is_what_its_other_pages_would_meet_too() -> None:
    assert codes(is_host_trouble=True) == {
        "connection_error",
        "dns_error",
        "http_5xx",
        "rate_limited",
        "robots_unreachable",
        "timeout",
        "tls_error",
    }


def test_throttling_waits_half_a_minute_before_the_second_attempt() -> None:
    throttling = [kind for kind in KINDS if kind.is_throttling]
    assert {kind.code for kind in throttling} == {"rate_limited", "http_5xx", "blocked_page"}
    assert {kind.backoff for kind in throttling} == {30.0}
