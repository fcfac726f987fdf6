"""From a page or an error to an outcome."""

import pytest
from uuid_utils.compat import uuid4

from jobs.engine.pipeline import failure, retry_delay
from jobs.engine.repository import Claim
from jobs.errors import (
    BlockedTarget,
    ConnectionFailed,
    Throttled,
)


def new_claim(attempt=1, max_attempts=3, timeout=30):
    return Claim(
        engine_id=1,
        job_id=uuid4(),
        client_id=uuid4(),
        batch_id=None,
        token=uuid4(),
        attempt=attempt,
        max_attempts=max_attempts,
        url="http://x.example/",
        host="x.example",
        extract=None,
        formats=("html",),
        timeout=timeout,
        crashes=0,
        ignores_robots=False,
        watched=False,
        queued_ms=0,
        queued_for="workers",
    )


def test_a_transient_error_is_tried_again():
    outcome = failure(new_claim(attempt=1), ConnectionFailed())
    assert outcome.state == "queued"
    assert outcome.delay > 0


def test_the_last_attempt_is_not_tried_again():
    assert failure(new_claim(attempt=3), ConnectionFailed()).state == "failed"


def test_a_permanent_error_is_not_tried_again():
    assert failure(new_claim(attempt=1), BlockedTarget()).state == "failed"


def test_a_target_that_asks_for_a_pause_gets_it():
    outcome = failure(new_claim(), Throttled(retry_after=120))
    assert outcome.delay >= 120


def test_a_target_cannot_ask_for_an_endless_pause():
    assert retry_delay(1, Throttled(retry_after=10**9)) <= 3600


@pytest.mark.parametrize("attempt", range(1, 20))
def test_pauses_grow_within_their_bounds(attempt):
    assert 1 <= retry_delay(attempt, ConnectionFailed()) <= 300
    assert retry_delay(attempt, ConnectionFailed()) <= 2 * 2.0 ** (attempt - 1)


def test_a_cause_that_takes_longer_to_go_away_is_given_longer():
    assert retry_delay(1, Throttled()) > retry_delay(1, ConnectionFailed())
