"""Which documents could hold up their reader: those are read in the sandbox.

Some work grows with the square of a document or worse. The worst documents found that pass here
took 0.6 s of a 2020s core or 190 MB; an ordinary page of 13 kB takes less than 1 ms.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from jobs.extraction.spec import ExtractionSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.extraction.reading import Document
    from jobs.extraction.spec import Field

# The parser compares each attribute of a tag with all the others: 0.6 s for one tag of 64 kB, 16
# times as long for one of 256 kB.
LARGE = 64 * 1024
# Formatting elements that a paragraph cut short are opened again in every later one: 1,000 tags,
# 5 kB, become 250,000 elements and 100 MB, and twice the tags four times as much.
MANY_TAGS = 1_500
# With shorter tags than this it is less, so a small body needs no count.
BYTES_A_TAG = 5
# What one spec may cost. A step of the engine takes about 15 ns.
STEPS = 20_000_000
# Records inside records are made in Python, each with a query of its own.
GROUP = 10

_TIGHT = re.compile(r"\s*([>+,(])\s*")
_BACKTRACKING = re.compile(r"\s*~\s*|\s+|\(")


def is_suspicious(document: Document, crashes: int = 0) -> bool:
    """Whether to read a document in the sandbox.

    `crashes` is how many workers were lost while they had its job.
    """
    body = document.body
    size = len(body)
    if crashes or size > LARGE:
        return True
    most = tag_limit(document.extract)
    return size > most * BYTES_A_TAG and has_more_tags(body, most)


def has_more_tags(body: bytes, most: int) -> bool:
    """Whether `<` occurs more often than that. A third of what counting costs.

    Unlike `count`, `replace` goes from hit to hit by memchr, and stops after `most`.
    """
    return b"<" in body.replace(b"<", b"\0", most)


@lru_cache(maxsize=1000)
def tag_limit(extract: str | None) -> int:
    """How many tags a document may have for a spec to stay within STEPS, whatever their order.

    Elements, matches inside of them and each combinator that the engine backtracks over are
    factors. Their sum is the number of tags, so their product is largest when all are equal.
    """
    if extract is None:
        return MANY_TAGS
    spec = ExtractionSpec.model_validate_json(extract)
    fields = list(_walk((*spec.base_fields, *spec.fields), 2))
    factors = max(1 + backtracking(spec.base_selector), *(count for count, _ in fields))
    price = sum(cost for _, cost in fields)
    return min(MANY_TAGS, int(factors * (STEPS / price) ** (1 / factors)))


def _walk(fields: tuple[Field, ...], level: int) -> Iterator[tuple[int, int]]:
    """The number of factors and the price of each field."""
    for field in fields:
        yield level + backtracking(field.selector or ""), GROUP if field.fields else 1
        yield from _walk(field.fields or (), level + 1)


def backtracking(selector: str) -> int:
    """Descendant and subsequent-sibling combinators and functions such as `:has()`.

    Never too few: those of alternatives and in quoted strings count as well.
    """
    return len(_BACKTRACKING.findall(_TIGHT.sub(r"\1", selector.strip())))
