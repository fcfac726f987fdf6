"""A database of the benchmark's own, so that a benchmark never touches anybody's jobs."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.db import connection

from cachelayer.remote import Unavailable
from performance.recording.stream import fleet_stream

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def scratch_database() -> Iterator[None]:
    """Create `<database>_benchmark` beside the configured one and drop it at the end.

    Inside, Django's connection and the DATABASE_URL that child processes inherit both lead there.
    What these have told of themselves is forgotten too.
    """
    original = connection.settings_dict["NAME"]
    original_url = os.environ["DATABASE_URL"]
    scratch = f"{original}_benchmark"
    connection.settings_dict["TEST"]["NAME"] = scratch
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    os.environ["DATABASE_URL"] = urlsplit(original_url)._replace(path=f"/{scratch}").geturl()
    try:
        yield
    finally:
        with suppress(Unavailable):
            fleet_stream().clear()
        os.environ["DATABASE_URL"] = original_url
        connection.creation.destroy_test_db(original, verbosity=0)
