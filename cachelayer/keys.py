"""The names under which entries, tags and locks lie in level 2.

An entry's key is a readable head, by which an operator finds a namespace, and a hash over all that
tells one entry of the namespace from another. What is hashed is unambiguous: every part carries
its type and either its length or an end mark, every container its number of items.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# No colon, so that a key can be read from its right end; no "@", which marks tags and locks.
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GLOB_SPECIALS = re.compile(r"([\\*?\[\]])")


def entry_key(
    prefix: str,
    namespace: str,
    version: int,
    parts: Sequence[object],
    generations: Sequence[str] = (),
) -> str:
    """The key `{prefix}:{namespace}:v{version}:{32 hexadecimal digits}`.

    Types count: 1, "1", True and 1.0 are four keys, and an Enum's member is not its value. Lists
    and tuples of the same items are one key, so are dictionaries in any order and aware datetimes
    of the same instant.

    Raises TypeError for a part of any other type, ValueError for a namespace that is not made of
    letters, digits, "_", "." and "-".
    """
    text = _sequence(parts) + (_sequence(generations) if generations else "l0:")
    # surrogatepass: a lone surrogate from a request's path must not be an error here.
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return _head(prefix, namespace, version) + digest


def tag_key(prefix: str, tag: str) -> str:
    """Where the generation of a tag lies."""
    return f"{prefix}:@tag:{tag}"


def lock_key(prefix: str, key: str) -> str:
    """The lock of those who load the entry `key`."""
    return f"{prefix}:@lock:{key}"


def pattern(prefix: str, namespace: str) -> str:
    """A glob for SCAN that finds all entries of a namespace, of every version, and nothing else."""
    head = f"{prefix}:{namespace}:v"
    return _GLOB_SPECIALS.sub(r"\\\1", head) + "*"


@lru_cache(maxsize=1024)
def _head(prefix: str, namespace: str, version: int) -> str:
    if not _NAMESPACE.fullmatch(namespace):
        raise ValueError(f"{namespace!r} is no namespace: use letters, digits, '_', '.' and '-'")
    return f"{prefix}:{namespace}:v{version:d}:"


def _sequence(items: Sequence[object]) -> str:
    text = f"l{len(items)}:"
    for item in items:
        # Most parts are text, and this is on the path of every hit.
        text += f"s{len(item)}:{item}" if type(item) is str else _part(item)
    return text


def _part(value: object) -> str:
    encode = _ENCODERS.get(type(value))
    if encode is None:
        encode = _encoder_of_base(value)
    return encode(value)


def _encoder_of_base(value: object) -> Callable[[Any], str]:
    """For subclasses: an Enum, whatever it mixes in, and then the type that it extends."""
    if isinstance(value, Enum):
        return _enum
    for base, encode in _ENCODERS.items():
        if isinstance(value, base):
            return encode
    raise TypeError(
        f"{type(value).__name__} cannot be part of a cache key: pass what identifies it, such as "
        "its primary key, str() or isoformat()"
    )


def _text(value: str) -> str:
    plain = str.__str__(value)
    return f"s{len(plain)}:{plain}"


def _enum(member: Enum) -> str:
    kind = type(member)
    return f"e{_text(kind.__module__)}{_text(kind.__qualname__)}{_part(member.value)}"


def _datetime(moment: datetime) -> str:
    if moment.utcoffset() is None:
        return f"n{moment.isoformat()};"
    since = moment - _EPOCH  # astimezone(UTC) would overflow at either end of time
    return f"t{since.days},{since.seconds},{since.microseconds};"


def _mapping(items: dict[object, object]) -> str:
    encoded: Iterable[str] = sorted(_part(key) + _part(value) for key, value in items.items())
    return f"d{len(items)}:{''.join(encoded)}"


_ENCODERS: dict[type, Callable[[Any], str]] = {
    str: _text,
    bool: lambda value: "T" if value else "F",
    type(None): lambda _: "N",
    int: lambda value: f"i{int(value):x};",  # decimal would fail above 4,300 digits
    float: lambda value: f"f{float(value).hex()};",
    bytes: lambda value: f"b{len(value)}:{value.decode('latin-1')}",
    UUID: lambda value: f"u{value.hex}",
    datetime: _datetime,
    list: _sequence,
    tuple: _sequence,
    dict: _mapping,
}
