"""The practice site as a process of its own, for benchmarks."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def practice_site() -> Iterator[str]:
    """The site's base URL, without a slash at the end; the site ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests.site", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ready = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        if ready is None:
            raise RuntimeError("the practice site did not start")
        yield ready.group()
    finally:
        process.terminate()
        process.wait(timeout=10)
