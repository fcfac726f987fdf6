"""One process of `benchmark collections`: answers requests of the API, and times its collections.

`--tuned` has the collector as web processes have it, otherwise it is as Python has it. Prints JSON:
the `seconds` of the requests, of which `collecting`, and the `longest` collection in ms.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from time import perf_counter

import django
import orjson


class Heard:
    """The collections since `start`, in seconds."""

    def __init__(self) -> None:
        """None so far."""
        self.together = self.longest = self._began = 0.0

    def heard(self, phase: str, _about: object) -> None:
        """Called by the collector."""
        if phase == "start":
            self._began = perf_counter()
        else:
            took = perf_counter() - self._began
            self.together += took
            self.longest = max(self.longest, took)


def main() -> None:
    """Answer, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("key")
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--tuned", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scraper_site.settings")
    django.setup()

    from django.test import Client
    from django.urls import get_resolver

    from jobs.engine.memory import collect_less

    _ = get_resolver().url_patterns
    if options.tuned:
        collect_less()
    heard = Heard()
    gc.callbacks.append(heard.heard)
    browser = Client(HTTP_HOST="127.0.0.1", HTTP_AUTHORIZATION=f"Bearer {options.key}")
    began = perf_counter()
    for _ in range(options.requests):
        answer = browser.post(
            "/api/v1/jobs", {"url": "http://127.0.0.1:9/page"}, content_type="application/json"
        )
        if answer.status_code != 202:
            raise RuntimeError(f"{answer.status_code}: {answer.content[:200]!r}")
    seconds = perf_counter() - began
    found = {
        "seconds": seconds, "collecting": heard.together, "longest": heard.longest * 1000,
    }  # fmt: skip
    sys.stdout.write(orjson.dumps(found).decode())


if __name__ == "__main__":
    main()
