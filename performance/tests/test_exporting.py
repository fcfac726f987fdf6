"""Tables of detail pages as CSV."""

import pytest
from django.urls import reverse
from django.utils import timezone

from performance.models import Capture
from performance.profiling.stacks import pack

pytestmark = pytest.mark.django_db


@pytest.fixture
def asked_for(admin_client):
    """Asks for a table of a capture of memory."""
    capture = Capture.objects.create(
        kind="objects", target="web/1", state="done", limits={"seconds": 5},
        asked_at=timezone.now(), stacks=pack({("jobs/a.py:3",): 4096}),
        document={"types": [["jobs.models.jobs.Job", 5_000]]},
    )  # fmt: skip

    def ask(table):
        return admin_client.get(reverse("console:capture-table", args=[capture.pk, table]))

    return ask


def test_what_a_capture_has_found_is_had_as_csv(asked_for):
    functions = asked_for("functions")
    assert functions.content.decode().split() == ["function,own,total", "jobs/a.py:3,4096,4096"]
    assert "attachment" in functions["Content-Disposition"]
    types = asked_for("types").content.decode()
    assert types.split() == ["type,objects", "jobs.models.jobs.Job,5000"]


@pytest.mark.parametrize("table", ["requests", "queries", "nothing"])
def test_what_a_capture_has_not_found_is_not_there(asked_for, table):
    assert asked_for(table).status_code == 404
