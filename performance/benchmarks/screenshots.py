"""`make screenshots`: the console's pages under real load, as pictures for docs/images.

Beside engines of its own: a web process and a worker, for three minutes under requests and jobs of
the practice site.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Two looks of the analyser are in it.
LOAD = 180.0
IMAGES = Path(__file__).parents[2] / "docs" / "images"
DESK, PHONE = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}
PAGES = ("requests", "queries", "database", "pools", "cache", "queue", "domains", "memory")
NAMES = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    """Write them all; returns the exit code."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        sys.stderr.write("There is no Chromium here: `apt-get install chromium`.\n")
        return 1
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    _photograph(path)
    return 0


def _photograph(chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    from performance.benchmarks.practice_site import practice_site
    from performance.benchmarks.throughput import worker
    from performance.benchmarks.web_server import web_server

    session = _session()
    with practice_site() as site, worker(site, 20), web_server(DB_POOL_SIZE="4") as base:
        ends = time.monotonic() + LOAD
        threads = [threading.Thread(target=_load, args=(base, site, ends + 25)) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(LOAD)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            _shoot(browser, base, session)
            browser.close()
        for thread in threads:
            thread.join()


def _session() -> str:
    from django.contrib.auth.models import User
    from django.test import Client

    user, _ = User.objects.get_or_create(
        username="admin", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client()
    client.force_login(user)
    return str(client.cookies["sessionid"].value)


def _load(base: str, site: str, ends: float) -> None:
    from performance.benchmarks.api_load import job, send
    from performance.benchmarks.tenants import api_key

    headers = {"Authorization": f"Bearer {api_key()}", "Content-Type": "application/json"}
    number = 0
    while time.monotonic() < ends:
        number += 1
        send(base, headers, 10, job(f"{site}/catalogue/page-{number % 75 + 1}"))
        time.sleep(0.05)


def _shoot(browser: Browser, base: str, session: str) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    shots = [
        ("overview", "", DESK, "light"),
        ("overview-dark", "", DESK, "dark"),
        ("overview-phone", "", PHONE, "light"),
        *((slug, f"{slug}/", DESK, "light") for slug in PAGES),
    ]
    for name, path, size, scheme in shots:
        context = browser.new_context(
            viewport=size,  # type: ignore[arg-type]
            color_scheme=scheme,  # type: ignore[arg-type]
            reduced_motion="reduce",
        )
        context.add_cookies([{"name": "sessionid", "value": session, "url": base}])
        page = context.new_page()
        page.goto(f"{base}/admin/performance/{path}")
        page.screenshot(path=IMAGES / f"console-{name}.png")
        context.close()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scraper_site.settings")
    sys.exit(main())
