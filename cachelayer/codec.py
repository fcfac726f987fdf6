"""Entries as bytes for level 2.

An entry is a header (magic, format version, flags, three times, the body's size, a checksum) and a
body: the value itself where it is `bytes`, else msgpack; either is compressed with Zstandard above
a threshold. Nothing here can run code that somebody planted in the cache, as pickle would. The
checksum finds damage, not malice: for malice there are the bounds on what a body may become.
"""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Bytes of a body before compression. A value of small containers takes up to 70 times its msgpack
# form in memory, so this also bounds what one planted entry can cost: about 300 MB.
LARGEST_BODY = 4 * 1024 * 1024

_MAGIC = b"\xc1CL"  # 0xC1 starts no msgpack, no UTF-8 text and no pickle
_FORMAT = 1
_MISSING, _BYTES, _COMPRESSED = 1, 2, 4
_ALL_FLAGS = _MISSING | _BYTES | _COMPRESSED
_HEAD = struct.Struct(">3sBBdddI")  # magic, format, flags, created, fresh_until, expires, size
# Of the body and then the header, so that `touch.py` can change the times without the body.
_CRC = struct.Struct(">I")
_BODY = _HEAD.size + _CRC.size

_LEVEL = 3
# A frame may ask for 128 MB of window before it has given a byte; ours never need more than this.
_BOUNDED: dict[int, int] = {zstd.DecompressionParameter.window_log_max: LARGEST_BODY.bit_length()}

_DATETIME, _DATE, _UUID, _DECIMAL = 1, 2, 3, 4


class CorruptEntry(Exception):
    """The bytes are not an entry as this version of the format writes it."""


class UnsupportedValue(TypeError):
    """The value has no form that level 2 can hold and give back as it was."""


class EntryTooLarge(ValueError):
    """The value takes more than LARGEST_BODY bytes before compression."""


@dataclass(slots=True)
class Entry:
    """A cached value and its times, in seconds as `time.time()` gives them.

    `missing` marks a negative entry: the loader found nothing.
    """

    value: Any
    created: float
    fresh_until: float
    expires: float
    missing: bool = False

    def is_fresh(self, now: float) -> bool:
        return now < self.fresh_until

    def is_usable(self, now: float) -> bool:
        """Fresh, or stale but better than nothing."""
        return now < self.expires


def encode(entry: Entry, *, compress_above: int) -> bytes:
    """The entry as bytes; a body of more than `compress_above` bytes is compressed.

    A value may be made of None, bool, int (64 bits), float, str, bytes, list, dict, datetime,
    date, UUID and Decimal, of these types exactly: a tuple would come back as a list. An aware
    datetime comes back with its offset instead of its zone, a bytearray inside a list as bytes.

    Raises UnsupportedValue for anything else, EntryTooLarge above LARGEST_BODY.
    """
    flags = _MISSING if entry.missing else 0
    if type(entry.value) is bytes:
        flags |= _BYTES
        body = entry.value
    else:
        body = _pack(entry.value)
    size = len(body)
    if size > LARGEST_BODY:
        raise EntryTooLarge(f"{size} bytes are more than {LARGEST_BODY}: cache a smaller part")
    if size > compress_above:
        compressed = zstd.compress(body, _LEVEL)
        if len(compressed) < size:
            flags |= _COMPRESSED
            body = compressed
    head = _HEAD.pack(_MAGIC, _FORMAT, flags, entry.created, entry.fresh_until, entry.expires, size)
    return b"".join((head, _CRC.pack(zlib.crc32(head, zlib.crc32(body))), body))


def decode(data: bytes) -> Entry:
    """The entry that `encode` wrote. Raises CorruptEntry for all other bytes, and nothing else."""
    if len(data) < _BODY:
        raise CorruptEntry(f"{len(data)} bytes are less than a header")
    magic, version, flags, created, fresh_until, expires, size = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != _FORMAT or flags & ~_ALL_FLAGS or size > LARGEST_BODY:
        raise CorruptEntry("the header is not one of ours")
    view = memoryview(data)
    body = view[_BODY:]
    (checksum,) = _CRC.unpack_from(data, _HEAD.size)
    if checksum != zlib.crc32(view[: _HEAD.size], zlib.crc32(body)):
        raise CorruptEntry("the checksum differs")
    try:
        content = _decompress(body, size) if flags & _COMPRESSED else bytes(body)
        if len(content) != size:
            raise CorruptEntry(f"the body has {len(content)} bytes instead of {size}")
        value = content if flags & _BYTES else _unpack(content)
    except CorruptEntry:
        raise
    except Exception as error:  # parsers of foreign bytes fail in many ways that mean one thing
        raise CorruptEntry(str(error)) from error
    return Entry(value, created, fresh_until, expires, bool(flags & _MISSING))


def _decompress(body: memoryview, size: int) -> bytes:
    """At most `size` bytes, whatever the frame holds; all of the frame, and one frame only."""
    decompressor = zstd.ZstdDecompressor(options=_BOUNDED)
    content = decompressor.decompress(body, max_length=size)
    if not decompressor.eof or decompressor.unused_data:
        raise CorruptEntry("the compressed body is longer than the header says")
    return content


def _pack(value: Any) -> bytes:
    try:
        packed: bytes = msgpack.packb(value, default=_to_extension, strict_types=True)
    except (ValueError, OverflowError) as error:  # nesting, integers beyond 64 bits, surrogates
        raise UnsupportedValue(f"{error}: cache a plainer value") from error
    return packed


def _unpack(content: bytes) -> Any:
    # A container's header makes msgpack reserve memory for all items that it announces, and
    # headers nest. Skipping over the value first shows, without objects, that the items are there.
    scanner = msgpack.Unpacker(max_buffer_size=len(content))
    scanner.feed(content)
    scanner.skip()
    return msgpack.unpackb(content, ext_hook=_from_extension, strict_map_key=False)


def _to_extension(value: object) -> msgpack.ExtType:
    if type(value) is datetime:
        return msgpack.ExtType(_DATETIME, value.isoformat().encode())
    if type(value) is date:
        return msgpack.ExtType(_DATE, value.isoformat().encode())
    if type(value) is UUID:
        return msgpack.ExtType(_UUID, value.bytes)
    if type(value) is Decimal:
        return msgpack.ExtType(_DECIMAL, str(value).encode())
    raise UnsupportedValue(
        f"{type(value).__qualname__} cannot be cached: convert it to a list, a dict, text or bytes"
    )


def _from_extension(code: int, data: bytes) -> object:
    if code == _DATETIME:
        return datetime.fromisoformat(data.decode())
    if code == _DATE:
        return date.fromisoformat(data.decode())
    if code == _UUID:
        return UUID(bytes=data)
    if code == _DECIMAL:
        return Decimal(data.decode())
    raise CorruptEntry(f"unknown extension type {code}")
