"""Which code runs here."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from performance.conf import performance_settings


@cache
def revision() -> str:
    """REVISION, else the commit, marked when the files differ from it; `unknown` without either."""
    if configured := performance_settings().revision:
        return configured
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    project = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            command, cwd=project, capture_output=True, text=True, check=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
