"""API keys: `scr_<id>_<secret><checksum>`.

The id finds the row, the secret is 256 random bits, and the checksum lets a typing error be told
from an unknown key without a query. Only the SHA-256 of the secret is stored: it is random, so a
slow hash would add nothing but time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass

PATTERN = re.compile(r"scr_([0-9a-f]{12})_([0-9a-f]{64})([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """The parts of a well-formed key."""

    id: str
    digest: bytes

    def matches(self, digest: bytes) -> bool:
        """Whether this is the key behind a stored digest, compared in constant time."""
        return hmac.compare_digest(self.digest, digest)


def generate_key() -> str:
    """A new random key, to be shown once."""
    body = f"{secrets.token_hex(6)}_{secrets.token_hex(32)}"
    return f"scr_{body}{_checksum(body)}"


def parse_key(raw: str) -> ParsedKey | None:
    """The parts of a key, or None when it is not one."""
    match = PATTERN.fullmatch(raw)
    if match is None:
        return None
    key_id, secret, checksum = match.groups()
    if checksum != _checksum(f"{key_id}_{secret}"):
        return None
    return ParsedKey(key_id, hashlib.sha256(secret.encode()).digest())


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
