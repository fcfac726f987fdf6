"""Frames as people read them: files as the project, a library or Python has them."""

from __future__ import annotations

import sysconfig

from performance.recording.places import place

PYTHON = f"{sysconfig.get_path('stdlib')}/"


def file_of(filename: str) -> str:
    """`jobs/keys.py`, `django/db/models/query.py`, `threading.py`."""
    return place(filename, 0).file.removeprefix(PYTHON)
