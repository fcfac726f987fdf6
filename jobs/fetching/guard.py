"""The address guard: which addresses this service opens connections to.

Everything that connects to a place a stranger named asks one `AddressPolicy`. Public unicast
addresses pass; anything else must be on the operator's allow-list; a few addresses never pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, TypeAlias

from jobs.errors import BlockedTarget

if TYPE_CHECKING:
    from collections.abc import Iterable

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


# Not even an allow-list opens these.
_NEVER = _networks(
    "169.254.0.0/16",  # link-local, most clouds' metadata service
    "fe80::/10",  # link-local
    "168.63.129.16/32",  # metadata: Azure
    "100.100.100.200/32",  # metadata: Alibaba Cloud
    "192.0.0.192/32",  # metadata: Oracle Cloud
    "fd00:ec2::254/128",  # metadata: AWS
    "fd20:ce::254/128",  # metadata: Google Cloud
    "64:ff9b:1::/48",  # local-use NAT64: where the IPv4 address sits is each network's secret
)

# The IANA special-purpose registries, written out because `is_global` follows them differently
# from one Python release to the next.
_SPECIAL = _networks(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",  # 6to4 relays, withdrawn by RFC 7526
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID
    "2001:db8::/32",
    "3fff::/20",
)
_IPV6_UNICAST = IPv6Network("2000::/3")  # the only IPv6 space handed out for the internet

# Transition prefixes whose last 32 bits are an IPv4 address that a translator connects to.
_IPV4_AT_END = (
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated, RFC 2765
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
)
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")

# One entry of an allow-list never opens (nearly) everything: at least this many prefix bits.
_SHORTEST_PREFIX = {4: 8, 6: 7}


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _IPV6_UNICAST:
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and not _is_in(address, _SPECIAL)
    )


def _embedded_ipv4(address: Address) -> list[IPv4Address]:
    """Every IPv4 address that a packet to `address` may end up at."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.sixtofour] if address.sixtofour else []
    found.extend(address.teredo or ())
    is_loopback_or_unspecified = int(address) <= 1
    if _is_in(address, _IPV4_AT_END) and not is_loopback_or_unspecified:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found


@dataclass(frozen=True, slots=True)
class AllowedTarget:
    """One entry of an allow-list: a network, on one port or (None) on every port."""

    network: Network
    port: int | None

    def covers(self, address: Address, port: int) -> bool:
        """Whether this entry opens `address` on `port`."""
        return address in self.network and self.port in (None, port)

    @classmethod
    def parse(cls, entry: str) -> AllowedTarget:
        """Read `127.0.0.1:8801`, `[::1]:9000` or `10.0.0.0/8`; ValueError for anything else."""
        try:
            target = cls(ip_network(entry), None) if "/" in entry else cls._parse_endpoint(entry)
        except ValueError as error:
            raise ValueError(
                f"{entry!r} is neither an IP address with a port, such as 127.0.0.1:8801 or "
                f"[::1]:9000, nor a network, such as 10.0.0.0/8: {error}"
            ) from None
        target._refuse_what_may_never_be_opened(entry)
        return target

    @classmethod
    def _parse_endpoint(cls, entry: str) -> AllowedTarget:
        host, _, port = entry.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        address = ip_address(host[1:-1] if bracketed else host)
        if bracketed != (address.version == 6):
            raise ValueError("IPv6 addresses, and only they, stand in brackets")
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise ValueError("the port must be a number from 1 to 65535")
        return cls(ip_network(address), int(port))

    def _refuse_what_may_never_be_opened(self, entry: str) -> None:
        network = self.network
        if network.prefixlen < _SHORTEST_PREFIX[network.version]:
            raise ValueError(f"{entry!r} is too wide for an allow-list")
        if isinstance(network, IPv6Network) and network.subnet_of(_IPV4_MAPPED):
            raise ValueError(f"{entry!r} is an IPv4-mapped address: write it as IPv4")
        if any(_is_subnet(network, never) for never in _NEVER):
            raise ValueError(f"{entry!r} is a link-local or metadata address: never allowed")


def _is_subnet(network: Network, other: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)


@dataclass(frozen=True)
class AddressPolicy:
    """Public addresses plus an explicit allow-list (empty by default)."""

    allowed: tuple[AllowedTarget, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AddressPolicy:
        """Read entries such as `127.0.0.1:8801`, `[::1]:9000` and `10.0.0.0/8`.

        Raises ValueError, naming the entry, when one is malformed, too wide or can never be
        allowed. A network around a metadata address is accepted; that address stays closed.
        """
        return cls(tuple(AllowedTarget.parse(entry) for entry in entries))

    def check(self, ip: str, port: int) -> None:
        """Raise BlockedTarget unless connections to this address and port are allowed."""
        try:
            address = ip_address(ip)
        except ValueError:
            raise BlockedTarget from None
        if not self._permits(address, port):
            raise BlockedTarget

    def _permits(self, address: Address, port: int) -> bool:
        if isinstance(address, IPv6Address):
            if address.ipv4_mapped:  # the kernel connects to the IPv4 address
                return self._permits(address.ipv4_mapped, port)
            if address.scope_id:  # a zone names one of our own interfaces
                return False
        if _is_in(address, _NEVER):
            return False
        if not _is_public(address) and not any(e.covers(address, port) for e in self.allowed):
            return False
        return all(self._permits(inner, port) for inner in _embedded_ipv4(address))
