"""What duties ask PostgreSQL for is looked at as what requests ask for is."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User

from jobs.engine import duties
from jobs.engine.duties import DutySpec
from jobs.models import Client, Duty
from jobs.services import create_client
from performance.entry import Name
from performance.recording.process import buffer
from performance.recording.watch import current

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MANY = 20


@pytest.fixture
def owners():
    for number in range(MANY):
        owner = User.objects.create(username=f"owner-{number}")
        create_client(owner=owner, name="default")
    buffer.take("test")


def ask_one_by_one(now, most):
    return len({client.owner.username for client in Client.objects.all()}) - MANY


def fail(now, most):
    raise ZeroDivisionError


def run(work):
    duty = DutySpec("lists", 60, work)
    Duty.objects.create(name=duty.name, next_at=NOW)
    duties.run(duty, now=NOW, worker="test")
    return buffer.take("test")


def test_a_duty_that_asks_for_each_row_is_found(owners):
    message = run(ask_one_by_one)
    (found,) = [subject for subject in message.subjects if subject.type == "n_plus_one"]
    assert found.document["view"] == "duty lists"
    assert found.document["file"].endswith("test_duties_watched.py")


def test_how_long_a_duty_took_is_recorded(owners):
    assert run(ask_one_by_one).tallies[Name("duty", "lists")].count == 1


def test_a_duty_that_fails_is_watched_to_its_end(owners):
    assert run(fail).tallies[Name("duty", "lists")].count == 1
    assert current.get() is None
