from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.extraction import decode_html

NAMES = st.sampled_from(
    ["utf-8", "UTF-16", "utf-16le", "gb2312", "shift_jis", "iso-2022-jp", "big5", "euc-kr"]
)
HOSTILE = ["utf-7", "idna", "punycode", "unicode_escape", "undefined", "hex", "zlib", "rot13"]


def test_the_header_comes_first() -> None:
    assert decode_html(b"<meta charset=utf-8>\xe9", "ISO-8859-1").endswith("é")


def test_a_byte_order_mark_comes_next_and_is_not_part_of_the_text() -> None:
    assert decode_html("\ufeffé<meta charset=koi8-r>".encode(), None)[0] == "é"
    assert decode_html("\ufeffé".encode("utf-16-le"), None) == "é"
    assert decode_html("\ufeffé".encode("utf-16-be"), None) == "é"


def test_a_byte_order_mark_is_removed_when_the_header_names_the_charset_too() -> None:
    assert decode_html("\ufeffé".encode(), "utf-8") == "é"


@pytest.mark.parametrize(
    "meta",
    [
        b"<meta charset=windows-1251>",
        b"<META CHARSET = 'Windows-1251' />",
        b'<meta http-equiv="content-type" content="text/html; charset=windows-1251">',
    ],
)
def test_a_meta_element_names_the_charset(meta: bytes) -> None:
    assert decode_html(meta + b"\xcf", None).endswith("П")


def test_a_meta_element_in_a_comment_or_after_1024_bytes_does_not_count() -> None:
    meta = b"<meta charset=windows-1251>"
    assert decode_html(b"<!-- " + meta + b" -->\xcf", None).endswith("\ufffd")
    assert decode_html(b" " * 1024 + meta + b"\xcf", None).endswith("\ufffd")


def test_a_meta_element_cannot_ask_for_utf_16() -> None:
    assert decode_html("<meta charset=utf-16>é".encode(), None).endswith("é")


def test_without_any_declaration_it_is_utf_8() -> None:
    assert decode_html("é".encode(), None) == "é"


def test_latin_1_is_read_as_windows_1252_like_browsers_do() -> None:
    assert decode_html(b"\x80", "latin1") == "€"


@pytest.mark.parametrize("charset", HOSTILE)
def test_a_codec_that_is_no_charset_of_the_web_falls_back(charset: str) -> None:
    assert decode_html("+AGE- é \\u0041".encode(), charset) == "+AGE- é \\u0041"


@pytest.mark.parametrize("charset", ["", "nope", "../x", "a" * 10_000, "utf-8\x00", "ütf-8"])
def test_an_unknown_charset_falls_back(charset: str) -> None:
    assert decode_html("é".encode(), charset) == "é"


def test_bytes_that_do_not_fit_are_replaced() -> None:
    assert decode_html(b"a\xffb", "utf-8") == "a\ufffdb"


@settings(derandomize=True, deadline=None)
@given(st.binary(), st.none() | NAMES | st.sampled_from(HOSTILE) | st.text())
def test_any_bytes_decode_to_encodable_text(body: bytes, charset: str | None) -> None:
    decode_html(body, charset).encode()


@settings(derandomize=True, deadline=None)
@given(st.binary(), NAMES | st.sampled_from(HOSTILE))
def test_any_meta_charset_decodes(body: bytes, charset: str) -> None:
    decode_html(b"<meta charset=" + charset.encode() + b">" + body, None).encode()
