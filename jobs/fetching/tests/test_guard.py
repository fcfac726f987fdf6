from __future__ import annotations

import pytest

from jobs.errors import BlockedTarget
from jobs.fetching import AddressPolicy

PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "223.255.255.254",
    "2606:2800:220:1::1",
    "2a00:1450:4001::200e",
    "::ffff:8.8.8.8",
    "2002:808:808::1",  # 6to4 around 8.8.8.8
]

# The addresses threats.md names first, then every other range of the special registries.
NOT_PUBLIC = [
    "224.0.0.1",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "::ffff:127.0.0.1",
    "fec0::1",
    "192.88.99.1",
    "168.63.129.16",
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "100::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    "2001:db8::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:2800:220:1::1%eth0",
]

NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "64:ff9b:1::1",
]


@pytest.mark.parametrize("ip", PUBLIC)
def test_a_public_address_passes(ip: str) -> None:
    AddressPolicy().check(ip, 80)


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_blocked(ip: str) -> None:
    with pytest.raises(BlockedTarget):
        AddressPolicy().check(ip, 80)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f.0.0.1", "2130706433", "1.2.3"])
def test_what_is_not_an_address_is_blocked(text: str) -> None:
    with pytest.raises(BlockedTarget):
        AddressPolicy().check(text, 80)


def test_the_refusal_does_not_tell_the_address() -> None:
    with pytest.raises(BlockedTarget) as caught:
        AddressPolicy().check("10.1.2.3", 80)
    assert "10.1.2.3" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "ip", "port"),
    [
        ("127.0.0.1:8801", "127.0.0.1", 8801),
        ("127.0.0.1:8801", "::ffff:127.0.0.1", 8801),
        ("[::1]:9000", "::1", 9000),
        ("10.0.0.0/8", "10.20.30.40", 443),
        ("fd12:3456::/32", "fd12:3456::7", 8080),
        ("64:ff9b::/96", "64:ff9b::808:808", 80),
        ("fc00::/7", "fd00::1", 80),
    ],
)
def test_an_allow_list_entry_opens_what_it_names(entry: str, ip: str, port: int) -> None:
    AddressPolicy.parse([entry]).check(ip, port)


@pytest.mark.parametrize(
    ("entry", "ip", "port"),
    [
        ("127.0.0.1:8801", "127.0.0.1", 8802),
        ("127.0.0.1:8801", "127.0.0.2", 8801),
        ("127.0.0.1:8801", "::1", 8801),
        ("[::1]:9000", "127.0.0.1", 9000),
        ("[::1]:9000", "::1", 9001),
        ("10.0.0.0/8", "192.168.0.1", 80),
        ("10.0.0.0/8", "2002:a9fe:a9fe::1", 80),
        ("64:ff9b::/96", "64:ff9b::7f00:1", 80),
        ("64:ff9b::/96", "64:ff9b::a9fe:a9fe", 80),
        ("2001::/32", "2001:0:4136:e378:8000:63bf:80ff:fffe", 80),  # Teredo client 127.0.0.1
    ],
)
def test_an_allow_list_entry_opens_nothing_else(entry: str, ip: str, port: int) -> None:
    with pytest.raises(BlockedTarget):
        AddressPolicy.parse([entry]).check(ip, port)


@pytest.mark.parametrize("ip", NEVER)
def test_a_network_around_a_metadata_address_leaves_it_closed(ip: str) -> None:
    wide = ["168.0.0.0/8", "169.0.0.0/8", "100.0.0.0/8", "192.0.0.0/8", "fc00::/7", "fe00::/7"]
    with pytest.raises(BlockedTarget):
        AddressPolicy.parse([*wide, "0:0:0:0::/32", "64:ff9b::/32"]).check(ip, 80)


@pytest.mark.parametrize("ip", NEVER)
def test_an_address_that_is_never_open_cannot_be_allowed(ip: str) -> None:
    endpoint = f"[{ip}]:80" if ":" in ip else f"{ip}:80"
    network = f"{ip}/128" if ":" in ip else f"{ip}/32"
    for entry in (endpoint, network):
        with pytest.raises(ValueError, match="never allowed"):
            AddressPolicy.parse([entry])


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "localhost:80",
        "127.0.0.1",
        "::1",
        "::1:9000",
        "[127.0.0.1]:80",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:8O",
        "127.0.0.1:٨٠",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "*",
    ],
)
def test_a_malformed_entry_is_refused_with_an_example(entry: str) -> None:
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:8801"):
        AddressPolicy.parse([entry])


@pytest.mark.parametrize("entry", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "2000::/3"])
def test_an_entry_that_opens_nearly_everything_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="too wide"):
        AddressPolicy.parse([entry])


def test_an_ipv4_mapped_entry_is_refused_because_it_would_never_match() -> None:
    with pytest.raises(ValueError, match="write it as IPv4"):
        AddressPolicy.parse(["[::ffff:10.0.0.1]:80"])
