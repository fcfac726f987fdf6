"""When a failed delivery is tried again."""

import pytest

from jobs.webhooks.schedule import DELAYS, JITTER, next_delay


def test_the_schedule_spans_75_hours_in_ten_tries():
    assert len(DELAYS) + 1 == 10
    assert sum(DELAYS) == 75 * 3600 + 35 * 60 + 5


@pytest.mark.parametrize("tries", range(1, len(DELAYS) + 1))
def test_each_pause_is_jittered_around_its_place_in_the_schedule(tries):
    delays = [next_delay(tries) or 0 for _ in range(200)]
    usual = DELAYS[tries - 1]
    assert usual * (1 - JITTER) <= min(delays) < usual < max(delays) <= usual * (1 + JITTER)


def test_after_the_last_try_there_is_no_other():
    assert next_delay(len(DELAYS) + 1) is None


def test_a_receiver_that_asks_for_more_time_gets_it():
    assert next_delay(1, retry_after=600) == 600
    assert next_delay(3, retry_after=1) != 1
