"""What the tests of the console ask a browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import connections
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page

SCREENSHOTS = Path(__file__).parents[2] / ".local" / "screenshots"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
NAMES = ("chromium", "chromium-browser", "google-chrome")
# WCAG 2.2, 1.4.3: the ratio of relative luminances, 3 instead of 4.5 for large text.
PALE_TEXT = """
() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const parsed = text => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(n => top[n] * top[3] + below[n] * (1 - top[3]));
  const behind = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      layers.push(parsed(getComputedStyle(one).backgroundColor));
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = [];
  for (const element of document.querySelectorAll('#content *')) {
    const says = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!says || element.closest('svg') || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), back = behind(element);
    const front = over(parsed(style.color), back);
    let opacity = 1;
    for (let one = element; one; one = one.parentElement) opacity *= getComputedStyle(one).opacity;
    const seen = front.map((value, n) => value * opacity + back[n] * (1 - opacity));
    const [light, dark] = [luminance(seen), luminance(back)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05), size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) {
      const text = element.textContent.trim().slice(0, 30);
      found.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className} ${text}`);
    }
  }
  return found;
}
"""
# Elements that are wider than the window and not inside something that scrolls by itself.
WIDER = """
() => {
  const width = document.documentElement.clientWidth;
  return document.scrollingElement.scrollWidth > width
    ? [...document.querySelectorAll('#content *')]
        .filter(e => e.getBoundingClientRect().right > width + 1 && !e.closest('.console-scroll'))
        .map(e => `${e.tagName}.${e.className} ${e.getBoundingClientRect().right}`)
        .concat(`page ${document.scrollingElement.scrollWidth}`)
    : [];
}
"""

# What is cut off or runs over its neighbour: everything that is wider inside than outside. Code and
# flame graphs may be: they scroll by themselves.
CUT = """
() => [...document.querySelectorAll('#content *')]
  .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1)
  .filter(e => !e.closest('pre, svg, .flame, select, input') && e.checkVisibility())
  .map(e => `${e.tagName}.${e.className} ${e.scrollWidth}/${e.clientWidth} ${
    e.textContent.trim().slice(0, 40)}`)
"""
# Where the focus of the keyboard is when one does not see that; it marks what has had the focus.
UNSEEN_FOCUS = """
() => {
  const one = document.activeElement, style = getComputedStyle(one);
  one.dataset.reached = '';
  if (!one.closest('#content') || one.id === 'content-start') return '';
  const has = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
  return has ? '' : `${one.tagName}.${one.className} ${one.textContent.trim().slice(0, 30)}`;
}
"""


# What the focus has not been at, of all that can be used.
UNREACHED = """
() => [...document.querySelectorAll(
    '#content :is(a[href], button, input, select, summary, [tabindex="0"])')]
  .filter(e => e.checkVisibility() && e.type !== 'hidden' && !('reached' in e.dataset))
  .map(e => `${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 30)}`)
"""
# Once a refresh has been put in its place.
SWAPPED = """
() => new Promise(done => document.addEventListener('htmx:afterSwap', done, {once: true}))
  .then(() => null)
"""


def executable() -> str:
    """The system's Chromium; without one the test is skipped, but where CI runs it fails."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        text = "no Chromium: `apt-get install chromium`"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return found


def launched() -> Iterator[Browser]:
    """A browser of the system's.

    Playwright leaves an event loop running in this thread, where Django then refuses its ORM.
    """
    path = executable()
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            yield browser
            browser.close()
            # Those of that loop: nobody comes by them later.
            connections.close_all()
    finally:
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
        else:
            os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


def complaints(page: Page) -> list[str]:
    """A list that fills with what the page's console and scripts complain of."""
    found: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # Browsers ask for an icon by themselves.
        is_icon = message.location["url"].endswith("/favicon.ico")
        if message.type in ("error", "warning") and not is_icon:
            found.append(f"{message.type}: {message.text}")

    page.on("console", heard)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on(
        "response",
        lambda answer: (
            found.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
        ),
    )
    return found


def shot(page: Page, name: str) -> None:
    """Keep how it looks, for whoever reads the run."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
