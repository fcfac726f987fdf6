"""URLs from strangers: parsed once, checked, and handed on in one canonical spelling."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address

from yarl import URL

from jobs.errors import InvalidTarget

MAX_URL_LENGTH = 2048

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\\s]")
_SCHEME_AND_AUTHORITY = re.compile(r"(?ai)https?://([^/?#]*)")
_NON_ASCII_DOTS = re.compile("[\u3002\uff0e\uff61]")  # IDNA reads them as ".", filters do not
_AFTER_COLON = re.compile(r":([^:\]]*)$")
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?a)(?:{_LABEL}\.)*({_LABEL})\.?")
_NUMERIC_LABEL = re.compile(r"(?a)[0-9]+|0x[0-9a-f]*")


def check_url(url: str) -> URL:
    """Return the canonical form of an absolute http or https URL of at most 2,048 characters.

    Canonical: lower-case scheme and host (IDNA-encoded), no default port, no fragment, a path
    that starts with "/", percent-encoded where needed. Only the text is judged here; addresses
    are judged by `AddressPolicy` when a connection is opened. Raises InvalidTarget.
    """
    if len(url) > MAX_URL_LENGTH:
        raise InvalidTarget(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if _UNSAFE.search(url):
        raise InvalidTarget("The URL contains whitespace, a backslash or an unprintable character.")
    match = _SCHEME_AND_AUTHORITY.match(url)
    if match is None:
        raise InvalidTarget("The URL must be absolute and start with http:// or https://.")
    _check_authority(match[1])
    try:
        parsed = URL(url)
    except ValueError:  # IDNA's UnicodeError included
        raise InvalidTarget("The URL is malformed.") from None
    host = parsed.raw_host or ""
    if ("[" in match[1]) != (":" in host):
        raise InvalidTarget("Brackets in a URL's host are for IPv6 addresses only.")
    _check_host(host)
    return _canonical(parsed)


def join_url(base: URL, location: str) -> URL:
    """Resolve a redirect's Location against the URL it came from; checked like any other URL.

    Raises InvalidTarget.
    """
    # Browsers encode the raw spaces that some servers send.
    location = location.strip().replace(" ", "%20")
    if _UNSAFE.search(location):
        raise InvalidTarget("The target redirects to a URL with unsafe characters.")
    try:
        joined = str(base.join(URL(location)))
    except ValueError:
        raise InvalidTarget("The target redirects to a malformed URL.") from None
    return check_url(joined)


def _check_authority(authority: str) -> None:
    if "@" in authority:
        raise InvalidTarget("The URL must not contain a user name or password.")
    if "%" in authority:
        raise InvalidTarget("The URL's host must not be percent-encoded or have a zone.")
    if _NON_ASCII_DOTS.search(authority):
        raise InvalidTarget("The URL's host must be written with ASCII dots.")
    port = _AFTER_COLON.search(authority)
    if port and not (_PORT.fullmatch(port[1]) and 1 <= int(port[1]) <= 65535):
        raise InvalidTarget("The URL's port must be a number from 1 to 65535.")


@lru_cache(maxsize=1024)  # hosts repeat, and reading an address is slow
def _check_host(host: str) -> None:
    if not host:
        raise InvalidTarget("The URL has no host.")
    if ":" in host:  # an IPv6 address, which the parser has read
        return
    match = _HOST_NAME.fullmatch(host)
    if match is None or len(host) > 253:
        raise InvalidTarget("The URL's host is not a valid name or address.")
    if _NUMERIC_LABEL.fullmatch(match[1]):
        # libc reads 127.1, 2130706433 and 0x7f.1 as addresses: one spelling only.
        try:
            IPv4Address(host)
        except ValueError:
            raise InvalidTarget("The URL's host is not a canonical IPv4 address.") from None


def _canonical(url: URL) -> URL:
    if url.raw_fragment:
        url = url.with_fragment(None)
    if url.explicit_port is not None and url.is_default_port():
        url = url.with_port(None)
    canonical = url if url.raw_path != "/" else url.with_path("/", keep_query=True)
    if len(str(canonical)) > MAX_URL_LENGTH:
        raise InvalidTarget(f"The encoded URL is longer than {MAX_URL_LENGTH} characters.")
    return canonical
