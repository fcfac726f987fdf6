"""Bot walls: the challenges and block pages that stand where a page was asked for.

A wall is known by what its vendor's own page is made of, never by a word in a text. Vendors
also put scripts into pages that pass: Cloudflare's `/cdn-cgi/challenge-platform/scripts/jsd`,
`/_Incapsula_Resource?SWJIYLWA`, `_pxAppId` and DataDome's tag alone are no wall.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Statuses that walls are served with; the body of any other refusal is not worth reading.
MAY_BE_WALLS = frozenset({401, 403, 405, 406, 429, 503})
READ_FOR_WALLS = 65_536  # bytes of a refusal
# Bytes of a successful answer, which is a wall only if it is next to nothing else.
LARGEST_SUCCESSFUL_WALL = 10_000

_HTML = frozenset({"", "text/html", "application/xhtml+xml"})

# Header, values, vendor.
_HEADERS = (
    ("cf-mitigated", frozenset({"challenge"}), "Cloudflare"),
    ("x-amzn-waf-action", frozenset({"challenge", "captcha"}), "AWS WAF"),
)

# In all that follows, documents are in lower case. Titles that are a wall's if any marker is found.
_TITLED = {
    b"just a moment": ("Cloudflare", (b"_cf_chl_opt", b"/orchestrate/")),
    b"attention required! | cloudflare": ("Cloudflare", (b"cf-error-details",)),
    b"access denied": ("Akamai", (b"errors.edgesuite.net", b"reference&#32;&#35;")),
    b"pardon our interruption": ("Imperva", (b"",)),
}
# Two markers that are a wall's together. A "<" keeps pages apart that quote the markup: there it
# is "&lt;".
_MARKED = (
    (b'src="https://ct.captcha-delivery.com/', b"var dd={", "DataDome"),
    (b'{"url":"https://geo.captcha-delivery.com/', b"", "DataDome"),
    (b'<div id="px-captcha', b"_pxappid", "HUMAN"),
    (b'<iframe id="main-iframe" src="/_incapsula_resource?', b"", "Imperva"),
    (b'<div id="sec-if-cpt-container', b"", "Akamai"),
    (b'<form method="get" action="/errors/validatecaptcha"', b"", "Amazon"),
    (b'<form id="captcha-form"', b"", "Google"),
)

# Any other wall: titled as one, with a captcha and nothing else to fill in. No pattern reads past
# the next "<", so that a hostile document costs no more than its length.
_TITLE = re.compile(rb"<title\b[^<>]*>([^<]*)")
_WALL_TITLE = re.compile(
    rb"captcha|robot check|not a robot|are you (?:a )?(?:robot|human)|human verification|"
    rb"verify(?:ing)? (?:that )?you(?:'re| are)|security check|attention required|unusual traffic"
)
_CAPTCHA = re.compile(
    rb"<\w+\b[^<>]*\sclass=[\"'][^<>\"']{0,99}(?:g-recaptcha|h-captcha|cf-turnstile)"
)
_FIELD = re.compile(
    rb"<(?:textarea|select)\b|<input\b(?![^<>]*type=[\"']?(?:hidden|submit|button|image))"
)


def find_wall(
    status: int, headers: Mapping[str, str], content_type: str, body: bytes
) -> str | None:
    """Return whose bot wall this answer is, or None.

    A successful answer is one only if it is small, and known by its body only if it is HTML.
    `body` may be the beginning of a refusal.
    """
    is_successful = status < 400
    if is_successful and len(body) > LARGEST_SUCCESSFUL_WALL:
        return None
    for name, values, vendor in _HEADERS:
        if headers.get(name) in values:
            return vendor
    if is_successful and content_type not in _HTML:
        return None
    return _find_in(body.lower()) if body else None


def _find_in(body: bytes) -> str | None:
    for marker, other, vendor in _MARKED:
        if marker in body and other in body:
            return vendor
    found = _TITLE.search(body)
    if found is None:
        return None
    title = found[1].strip(b" \t\r\n.")
    vendor, markers = _TITLED.get(title, ("", ()))
    if any(marker in body for marker in markers):
        return vendor
    is_captcha = _WALL_TITLE.search(title) and _CAPTCHA.search(body) and not _FIELD.search(body)
    return "captcha" if is_captcha else None
