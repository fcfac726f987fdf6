"""The URL forms that the cache layer accepts for its server, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from redis.connection import URL_QUERY_ARGUMENT_PARSERS, parse_url

if TYPE_CHECKING:
    from urllib.parse import SplitResult

Kind = Literal["single", "sentinel", "cluster"]

FORMS = {
    "redis": "redis://host:port/db",
    "rediss": "rediss://host:port/db",
    "unix": "unix:///path?db=0",
    "redis+sentinel": "redis+sentinel://[user:password@]host:port,host:port/service/db",
    "rediss+sentinel": "rediss+sentinel://[user:password@]host:port,host:port/service/db",
    "redis+cluster": "redis+cluster://[user:password@]host:port,host:port",
    "rediss+cluster": "rediss+cluster://[user:password@]host:port,host:port",
}
DEFAULT_PORTS: dict[Kind, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
# redis-py takes any name and fails at the first connection, or (a cluster) drops it silently.
OPTIONS = {
    *URL_QUERY_ARGUMENT_PARSERS,
    *("username", "password", "client_name"),
    *("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile"),
}
HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Address:
    """Where a server, a sentinel-watched master or a cluster is.

    `name` is the URL without credentials and options. `hosts` are the server itself, the
    sentinels or some nodes of the cluster; empty for a Unix socket. `arguments` are redis-py's
    arguments of a connection, secrets among them, without host and class.
    """

    kind: Kind
    name: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    tls: bool
    arguments: dict[str, Any] = field(repr=False)


def parse(url: str) -> Address:
    """Take a URL apart; ValueError, which never repeats the URL, says what is wrong with it."""
    parts = _split(url)
    _check_options(parts)
    if parts.scheme == "unix":
        return _unix(url, parts)
    kind: Kind = next((k for k in ("sentinel", "cluster") if k in parts.scheme), "single")
    userinfo, at, _ = parts.netloc.rpartition("@")
    scheme = parts.scheme.partition("+")[0]
    arguments = _arguments(f"{scheme}://{userinfo}{at}placeholder?{parts.query}")
    del arguments["host"]
    hosts = _hosts(parts, kind)
    service, db = _service_and_db(parts, kind)
    arguments.setdefault("db", db)
    if kind == "cluster" and arguments.pop("db"):
        raise ValueError("a cluster has database 0 only: leave the database out of its URL")
    listed = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in hosts)
    name = f"{parts.scheme}://{listed}{parts.path}"
    return Address(kind, name, hosts, service, scheme == "rediss", arguments)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        # The original message may quote the credentials.
        raise ValueError(
            "the cache server's URL cannot be read: percent-encode special characters in it"
        ) from None
    if parts.scheme not in FORMS or not url.startswith(f"{parts.scheme}://"):
        raise ValueError(
            "the cache server's URL has none of the forms " + ", ".join(FORMS.values())
        )
    return parts


def _check_options(parts: SplitResult) -> None:
    if parts.fragment:
        raise ValueError("the cache server's URL has a '#': in a password, write it as %23")
    names = {name for name, _ in parse_qsl(parts.query)}
    if unknown := sorted(names - OPTIONS):
        raise ValueError(f"the cache server's URL has unknown options: {', '.join(unknown)}")


def _arguments(url: str) -> dict[str, Any]:
    """What redis-py reads out of one server's URL, but the class, which we choose."""
    found: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    found.pop("connection_class", None)
    return found


def _unix(url: str, parts: SplitResult) -> Address:
    arguments = _arguments(url)
    if not arguments.get("path"):
        raise ValueError(f"the cache server's URL names no socket; its form is {FORMS['unix']}")
    return Address("single", f"unix://{parts.path}", (), "", False, arguments)


def _hosts(parts: SplitResult, kind: Kind) -> tuple[tuple[str, int], ...]:
    listed = parts.netloc.rpartition("@")[2].split(",")
    if kind == "single" and len(listed) > 1:
        raise ValueError(
            f"{parts.scheme}:// takes one host; several make sense with "
            f"{parts.scheme}+sentinel:// and {parts.scheme}+cluster://"
        )
    return tuple(_host(number, text, kind, parts.scheme) for number, text in enumerate(listed, 1))


def _host(number: int, text: str, kind: Kind, scheme: str) -> tuple[str, int]:
    match = HOST.fullmatch(text)
    port = int(match["port"] or DEFAULT_PORTS[kind]) if match else 0
    if match is None or not 0 < port < 65_536:
        # What stands there can be a part of a password with a '/' in it, so it is not shown.
        raise ValueError(
            f"host {number} in the cache server's URL is not host:port; the form is {FORMS[scheme]}"
        )
    return match["host"].strip("[]"), port


def _service_and_db(parts: SplitResult, kind: Kind) -> tuple[str, int]:
    segments = [segment for segment in parts.path.split("/") if segment]
    service = ""
    if kind == "sentinel":
        if not segments:
            raise ValueError(
                "the cache server's URL names no sentinel service; its form is "
                f"{FORMS[parts.scheme]} (in CACHES, a LOCATION with commas needs the CLIENT_CLASS "
                "cachelayer.pools.CacheClient, else django-redis splits it)"
            )
        service = segments.pop(0)
    if len(segments) > 1 or not all(segment.isdecimal() for segment in segments):
        raise ValueError(
            "the end of the cache server's URL is not the number of a database; the form is "
            + FORMS[parts.scheme]
        )
    return service, int(segments[0]) if segments else 0
