"""What a selector, a pattern and a string of a spec must satisfy before a job is accepted.

Every function returns its argument, or raises ValueError with a message for the client.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import isfinite
from typing import Any, TypeVar

import re2  # type: ignore[import-untyped,unused-ignore]
from selectolax.lexbor import LexborHTMLParser, SelectolaxError

_T = TypeVar("_T")

MAX_SELECTOR = 500
MAX_PATTERN = 1_000
MAX_DEFAULT = 10_000
MAX_COMBINATORS = 6
MAX_PROGRAM = 2_000
REGEX_MEMORY = 1 << 20

_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|\[[^\]]*\]")
_SPACE_AROUND = re.compile(r"\s*([>+,(])\s*")
_BACKTRACKING = re.compile(r"\s*~\s*|\s+")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def check_string(value: str) -> str:
    """PostgreSQL stores neither U+0000 nor lone surrogates."""
    if _UNSTORABLE.search(value):
        raise ValueError("must not contain U+0000 or a lone surrogate")
    return value


def check_default(value: object) -> object:
    """A default is a JSON scalar that storage takes as it is."""
    if isinstance(value, str) and len(value) <= MAX_DEFAULT:
        return check_string(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("must fit into 64 bits")
    if value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    raise ValueError(f"must be a string of at most {MAX_DEFAULT} characters, a number or a boolean")


def check_not_empty(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """Checked after the items, whose own errors would otherwise look like an empty list too."""
    if not values:
        raise ValueError("must hold at least one field")
    return values


def check_selector(selector: str) -> str:
    """Refuse what the CSS engine cannot parse, and what it could match only in ages."""
    # The engine backtracks over each descendant and subsequent-sibling combinator, so the
    # work grows with (depth of the document) ** (number of them).
    plain = _SPACE_AROUND.sub(r"\1", _QUOTED.sub("", selector).strip())
    for alternative in plain.split(","):
        if len(_BACKTRACKING.findall(alternative)) > MAX_COMBINATORS:
            raise ValueError(
                f"has more than {MAX_COMBINATORS} descendant or sibling combinators; "
                "use a class, an id or '>' instead"
            )
    try:
        LexborHTMLParser("").css(selector)
    except SelectolaxError:
        raise ValueError("is not a CSS selector this service can use") from None
    return selector


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """Compile an RE2 pattern: linear time, bounded memory, bounded program."""
    options = re2.Options()
    options.max_mem = REGEX_MEMORY
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"is not a valid RE2 pattern: {_reason(error)}") from None
    # Linear in the text still means text times program once the automaton outgrows its memory.
    if compiled.programsize > MAX_PROGRAM:
        raise ValueError("is too complex: use smaller repetition counts")
    return compiled


def check_pattern(pattern: str) -> str:
    """Refuse what RE2 cannot compile within its bounds."""
    compile_pattern(pattern)
    return pattern


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "unknown error"
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
