"""What docs/webhooks.md tells receivers to do works."""

import re
import textwrap
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobs.webhooks.schedule import DELAYS
from jobs.webhooks.signing import new_secret, shown_secret, signed_headers

TEXT = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()


@pytest.fixture
def verify():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(textwrap.dedent(code), names)
    return names["verify"]


def headers(*secrets, body=b"{}", age=0):
    return signed_headers(uuid4(), body, timestamp=int(time.time()) - age, secrets=secrets)


def test_the_example_verifies_what_is_sent(verify):
    new, previous = new_secret(), new_secret()
    for secret in (new, previous):
        verify(shown_secret(secret), headers(new, previous), b"{}")


def test_the_example_refuses_what_is_forged(verify):
    with pytest.raises(ValueError, match="wrong"):
        verify(shown_secret(new_secret()), headers(new_secret()), b"{}")


def test_the_example_refuses_what_is_old(verify):
    secret = new_secret()
    with pytest.raises(ValueError, match="old"):
        verify(shown_secret(secret), headers(secret, age=301), b"{}")


def test_the_documented_schedule_is_the_one_in_use():
    (row,) = re.findall(r"\| pause before it \| – \|(.*)\|", TEXT)
    seconds = {"s": 1, "min": 60, "h": 3600}
    pauses = [one.split() for one in row.split("|")]
    assert [float(number) * seconds[unit] for number, unit in pauses] == list(DELAYS)
