"""From the bytes of a response to text, whatever they claim to be."""

from __future__ import annotations

import codecs
import re
from encodings import normalize_encoding
from encodings.aliases import aliases

PRESCAN_BYTES = 1024
MAX_LABEL = 40

_BOMS = (
    (codecs.BOM_UTF8, "utf_8"),
    (codecs.BOM_UTF16_LE, "utf_16_le"),
    (codecs.BOM_UTF16_BE, "utf_16_be"),
)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta\b[^>]*?charset\s*=\s*[\"']?\s*([^\s\"'/>;]+)", re.IGNORECASE)

# The encodings of the web (https://encoding.spec.whatwg.org/). Python knows more, among them
# ones that are no character sets (punycode, unicode_escape, utf_7), so nothing is looked up in
# its registry by a name from outside.
_PLAIN = frozenset(
    """utf_8 cp866 iso8859_2 iso8859_3 iso8859_4 iso8859_5 iso8859_6 iso8859_7 iso8859_8
    iso8859_10 iso8859_13 iso8859_14 iso8859_15 iso8859_16 koi8_r koi8_u mac_roman cp1250
    cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 mac_cyrillic gb18030 big5hkscs
    euc_jp iso2022_jp utf_16_be utf_16_le""".split()  # noqa: SIM905
)
# Labels that the web reads as a superset of what they say.
_SUPERSETS = {
    "ascii": "cp1252",
    "latin_1": "cp1252",
    "iso8859_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "cp874": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "cp932": "cp932",
    "x_sjis": "cp932",
    "euc_kr": "cp949",
    "cp949": "cp949",
    "utf_16": "utf_16_le",
    "x_cp1251": "cp1251",
    "x_cp1252": "cp1252",
    "iso8859_8_i": "iso8859_8",
}


def decode_html(body: bytes, charset: str | None) -> str:
    """Decode by the header's charset, else the byte order mark, else <meta>, else as UTF-8.

    An unknown charset counts as none. Bytes that do not fit become U+FFFD; never raises.
    """
    codec = _codec(charset or "") or _from_bom(body) or _from_meta(body) or "utf_8"
    return body.decode(codec, "replace").removeprefix("\ufeff")


def _codec(label: str) -> str | None:
    label = label.strip(" \t\n\f\r\"'").lower()
    if not label.isascii() or len(label) > MAX_LABEL:
        return None
    name = normalize_encoding(label)
    name = aliases.get(name, name)
    return name if name in _PLAIN else _SUPERSETS.get(name)


def _from_bom(body: bytes) -> str | None:
    return next((codec for bom, codec in _BOMS if body.startswith(bom)), None)


def _from_meta(body: bytes) -> str | None:
    found = _META.search(_COMMENT.sub(b"", body[:PRESCAN_BYTES]))
    codec = _codec(found[1].decode("latin-1")) if found else None
    # A declaration that could be read as ASCII was not written in UTF-16.
    return "utf_8" if codec and codec.startswith("utf_16") else codec
