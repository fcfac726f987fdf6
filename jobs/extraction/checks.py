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

_STRING = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_OPAQUE = re.compile(rf"/\*.*?\*/|\\.|{_STRING}|\[(?:[^\]\"'\\]|\\.|{_STRING})*\]", flags=re.DOTALL)
_SPACE_AROUND = re.compile(r"\s*([>+,(])\s*|\s+(?=\))")
_SYMBOL = re.compile(r":has\(|[(),]|\s*~\s*|\s+", flags=re.IGNORECASE)
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
    # The engine backtracks over each of these, so the work grows with (depth of the document) **
    # (number of them): `div:has(a b)` costs as much as `div a b c`.
    if count_backtracking(selector) > MAX_COMBINATORS:
        raise ValueError(
            f"has more than {MAX_COMBINATORS} descendant or sibling combinators or :has(); "
            "use a class, an id or '>' instead"
        )
    try:
        LexborHTMLParser("").css(selector)
    except SelectolaxError:
        raise ValueError("is not a CSS selector this service can use") from None
    return selector


def count_backtracking(selector: str) -> int:
    """Descendant and subsequent-sibling combinators and `:has()`, of the alternative with most.

    In parentheses, too, only the alternative with most counts, in addition to what is around it.
    """
    blanked = _OPAQUE.sub(lambda found: "" if found[0].startswith("/*") else "x", selector)
    plain = _SPACE_AROUND.sub(r"\1", blanked.strip())
    # For each open parenthesis: the most of its finished alternatives, and the current one's.
    most, current = [0], [0]
    for symbol in _SYMBOL.findall(plain):
        if symbol == ",":
            most[-1] = max(most[-1], current[-1])
            current[-1] = 0
        elif symbol == ")":
            if len(most) > 1:
                inside = max(most.pop(), current.pop())
                current[-1] += inside
        elif symbol.endswith("("):
            current[-1] += symbol != "("
            most.append(0)
            current.append(0)
        else:
            current[-1] += 1
    return sum(max(pair) for pair in zip(most, current, strict=True))


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
