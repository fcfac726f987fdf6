"""Bodies, read within bounds: whole or not at all, or only their beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.errors import TooLarge, UnreadableDocument

if TYPE_CHECKING:
    from aiohttp import ClientResponse

# What the parser decodes; it hands on a chain of codings, or an unknown one, as it came.
_CODINGS = frozenset({"", "identity", "gzip", "deflate", "br", "zstd"})


async def read_body(response: ClientResponse, max_bytes: int) -> bytes:
    """Return the decoded body.

    Raises TooLarge beyond `max_bytes`, and UnreadableDocument for a coding nobody here decodes.
    """
    _check_coding(response)
    if (response.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    blocks = []
    room = max_bytes
    # Blocks come decoded and bounded: a bomb is noticed long before it has unfolded.
    content = response.content
    while not content.at_eof():
        block = await content.readany()
        room -= len(block)
        if room < 0:
            raise _too_large(max_bytes)
        blocks.append(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


async def read_beginning(response: ClientResponse, first_bytes: int) -> bytes:
    """Return at most the first `first_bytes` of the decoded body; the rest is not read.

    Raises UnreadableDocument for a coding nobody here decodes.
    """
    _check_coding(response)
    found = bytearray()
    content = response.content
    while len(found) < first_bytes and not content.at_eof():
        found += await content.readany()
    return bytes(found[:first_bytes])


def _check_coding(response: ClientResponse) -> None:
    coding = ",".join(response.headers.getall("Content-Encoding", ())).lower()
    if coding not in _CODINGS:
        raise UnreadableDocument("The document has an unsupported Content-Encoding.")


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The document is larger than {max_bytes:,} bytes.")
