from __future__ import annotations

import pytest
from yarl import URL

from jobs.errors import InvalidTarget
from jobs.fetching import MAX_URL_LENGTH, check_url
from jobs.fetching.urls import join_url


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTP://EXAMPLE.com:80", "http://example.com/"),
        ("https://example.com:443?q=1", "https://example.com/?q=1"),
        ("http://example.com:8080/a/../b#part", "http://example.com:8080/b"),
        ("http://example.com./", "http://example.com./"),
        ("http://my_host-1/", "http://my_host-1/"),
        ("http://пример.рф/ü?q=ä", "http://xn--e1afmkfd.xn--p1ai/%C3%BC?q=%C3%A4"),
        ("http://faß.de/", "http://xn--fa-hia.de/"),
        ("http://example.com/a%2Fb?x=%20", "http://example.com/a%2Fb?x=%20"),
        ("http://example.com/。", "http://example.com/%E3%80%82"),
        ("http://example.com/@me?to=a@b", "http://example.com/@me?to=a@b"),
        ("http://8.8.8.8:65535/", "http://8.8.8.8:65535/"),
        ("http://[2606:2800:0220:0001::1]:80/", "http://[2606:2800:220:1::1]/"),
    ],
)
def test_a_good_url_is_canonicalised(written: str, canonical: str) -> None:
    assert str(check_url(written)) == canonical
    assert str(check_url(canonical)) == canonical


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "absolute"),
        ("example.com", "absolute"),
        ("//example.com/", "absolute"),
        ("http:example.com", "absolute"),
        ("ftp://example.com/", "absolute"),
        ("file:///etc/passwd", "absolute"),
        ("javascript:alert(1)", "absolute"),
        ("http\u017f://example.com/", "absolute"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://user@example.com/", "user name"),
        ("http://user:secret@example.com/", "user name"),
        ("http://@example.com/", "user name"),
        ("http://example.com\\@evil.test/", "backslash"),
        ("http://example.com/a\\b", "backslash"),
        (" http://example.com/", "whitespace"),
        ("http://example.com/ ", "whitespace"),
        ("http://exa mple.com/", "whitespace"),
        ("http://example.com/a\tb", "whitespace"),
        ("http://example.com/\u2028", "whitespace"),
        ("http://example.com/\r\nX: y", "whitespace"),
        ("http://example.com/\x00", "unprintable"),
        ("http://example.com/\x85", "unprintable"),
        ("http://example.com/\ud800", "unprintable"),
        ("http://example。com/", "ASCII dots"),
        ("http://127\uff0e0.0.1/", "ASCII dots"),
        ("http://127.0\uff610.1/", "ASCII dots"),
        ("http://%31%32%37.0.0.1/", "percent-encoded"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://example.com:0/", "port"),
        ("http://example.com:/", "port"),
        ("http://example.com:65536/", "port"),
        ("http://example.com:999999999/", "port"),
        ("http://example.com:80:80/", "malformed"),
        ("http://example.com:٨٠/", "port"),
        ("http://[::1/", "malformed"),
        ("http://[127.0.0.1]/", "malformed"),
        ("http://[v1.a]/", "Brackets"),
        ("http://exa\u200bmple.com/", "malformed"),
        ("http://a..b/", "not a valid name"),
        ("http://.example.com/", "not a valid name"),
        ("http://exa*mple.com/", "not a valid name"),
        (f"http://{'a' * 64}.com/", "not a valid name"),
        (f"http://{'a.' * 130}com/", "not a valid name"),
        ("http://127.1/", "canonical IPv4"),
        ("http://2130706433/", "canonical IPv4"),
        ("http://0177.0.0.1/", "canonical IPv4"),
        ("http://0x7f.0.0.1/", "canonical IPv4"),
        ("http://0x7f000001/", "canonical IPv4"),
        ("http://127.0.0.1./", "canonical IPv4"),
        ("http://256.0.0.1/", "canonical IPv4"),
    ],
)
def test_a_bad_url_is_refused_with_the_reason(url: str, complaint: str) -> None:
    with pytest.raises(InvalidTarget, match=complaint):
        check_url(url)


def test_a_url_may_have_2048_characters_and_no_more() -> None:
    start = "http://example.com/"
    longest = start + "a" * (MAX_URL_LENGTH - len(start))
    assert len(str(check_url(longest))) == 2048
    with pytest.raises(InvalidTarget, match="longer than 2048"):
        check_url(longest + "a")


def test_a_url_that_grows_beyond_the_limit_when_encoded_is_refused() -> None:
    with pytest.raises(InvalidTarget, match="encoded URL is longer"):
        check_url("http://example.com/" + "ü" * 1000)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/next", "http://example.com/next"),
        ("next?x=1", "http://example.com/a/next?x=1"),
        ("//other.test/x", "http://other.test/x"),
        ("https://other.test", "https://other.test/"),
        ("/with space", "http://example.com/with%20space"),
        ("?page=2", "http://example.com/a/b?page=2"),
    ],
)
def test_a_redirect_is_resolved_against_where_it_came_from(location: str, target: str) -> None:
    assert str(join_url(URL("http://example.com/a/b"), location)) == target


@pytest.mark.parametrize(
    "location",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "data:text/html,x",
        "http://user:pass@example.com/",
        "//[::1",
        "\\\\evil.test/",
        "/\x01",
        "http://127.1/",
        "/" + "a" * 3000,
    ],
)
def test_a_redirect_to_a_bad_url_is_refused(location: str) -> None:
    with pytest.raises(InvalidTarget):
        join_url(URL("http://example.com/a/b"), location)
