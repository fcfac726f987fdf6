"""Attempts as a worker tells of them, for the tests of those who listen."""

from datetime import UTC, datetime

from uuid_utils.compat import uuid4

from jobs.engine.batcher import Content, Outcome
from jobs.engine.phases import Phases
from jobs.engine.repository import Claim


def new_claim(host="x.example", attempt=1, queued_ms=0.0, queued_for="workers"):
    return Claim(
        engine_id=1,
        job_id=uuid4(),
        client_id=uuid4(),
        batch_id=None,
        token=uuid4(),
        attempt=attempt,
        max_attempts=3,
        url=f"http://{host}/",
        host=host,
        extract=None,
        formats=("html",),
        timeout=30,
        crashes=0,
        ignores_robots=False,
        watched=False,
        queued_ms=queued_ms,
        queued_for=queued_for,
    )


def phases(claim, **milliseconds):
    """What it spent its time on."""
    found = Phases(claim)
    found.add(milliseconds)
    return found


def succeeded(claim, **milliseconds):
    """A small page was found."""
    content = Content(claim.url, 200, datetime.now(UTC), {"html": "<p>"})
    return Outcome(claim, "succeeded", content=content, phases=phases(claim, **milliseconds))
