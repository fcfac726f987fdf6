"""Who waits for a job is woken by notifications, whoever else sends some."""

from uuid import uuid4

import pytest

from jobs.engine.finished import named


def test_a_notification_names_the_jobs_that_have_ended():
    jobs = [uuid4(), uuid4()]
    assert named(",".join(map(str, jobs))) == jobs


@pytest.mark.parametrize(
    "payload", ["", "nonsense", "019aa000-0000-7000-8000-000000000000,nonsense"]
)
def test_a_notification_of_somebody_else_names_none(payload):
    assert named(payload) == []
