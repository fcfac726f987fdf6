"""Statements that differ only in their values are one: what they have in common, and its name.

Values, the length of lists, the number of rows and the names of savepoints and cursors say nothing
about what a statement costs; its tables, columns and conditions do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

# Statements known by their text. A list of a thousand values would fill the memory with its like.
MOST_KNOWN = 2_000
LONGEST_KNOWN = 4_000
# What is shown of a statement, in characters.
LONGEST_SQL = 4_000

# What is in these is nobody's business; the names of tables as they stand in statements.
SECRET_TABLES = (
    "auth_user",
    "django_session",
    "jobs_apikey",
    "jobs_webhookendpoint",
    "performance_alertchannel",
)

PARTS = re.compile(
    r"""
      (?P<kept>    "(?:[^"]|"")*+" )                # a quoted name
    | (?P<note>    --[^\n]* | /\*.*?\*/ )
    | (?P<value>   E'(?:[^'\\]|\\.|'')*+'           # texts
                 | '(?:[^']|'')*+'
                 | \$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$
                 | %s | %\(\w+\)s | (?<!\w)\$\d+    # placeholders
                 | (?<![\w."])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b )
    """,
    re.VERBOSE | re.DOTALL,
)
SAVEPOINT = re.compile(r"^(SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO SAVEPOINT) .*", re.IGNORECASE)
CURSOR_NAME = re.compile(r'"?_django_curs_\w+"?')
SPACE = re.compile(r"\s+")
ITEM = r"(?:%s|NULL|DEFAULT|TRUE|FALSE)(?:::\w+(?:\[\])*)?"
LIST = re.compile(rf"{ITEM}(?:\s*,\s*{ITEM})++", re.IGNORECASE)
GROUP = r"\((?:[^()]++|\([^()]*+\))*+\)"
ROWS = re.compile(rf"(VALUES\s*{GROUP})(?:\s*,\s*{GROUP})++", re.IGNORECASE)

OPERATION = re.compile(r"\W*(\w+)")
WRITES = re.compile(r"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO)\b", re.IGNORECASE)
LOCKS = re.compile(r"\bFOR\s+(?:NO\s+KEY\s+)?UPDATE\b(?:\s+OF\s+\S+)?", re.IGNORECASE)
# FROM that is followed by no table.
NO_TABLE = re.compile(r"\bEXTRACT\s*\(\s*\S+\s+FROM\b|\bDISTINCT\s+FROM\b", re.IGNORECASE)
TABLE = re.compile(
    r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\s+(?:ONLY\s+)?"
    r'((?:"[^"]+"|\w++)(?:\.(?:"[^"]+"|\w++))?+)(?!\s*\()',
    re.IGNORECASE,
)
INTO_COLUMNS = re.compile(r'\bINTO\s+((?:"[^"]+"|\w++))\s*\(', re.IGNORECASE)
NAMED_HERE = re.compile(r"(?:\bWITH|\bRECURSIVE|,)\s+(\w+)\s+AS\b", re.IGNORECASE)
NO_NAMES = {"set", "select", "lateral", "only", "values"}


@dataclass(slots=True, eq=False)
class Statement:
    """What is known of a statement without running it.

    `fingerprint` is 16 hexadecimal digits; `sql` the text as it was first met, cut; `operation` is
    its verb in capitals; `is_read` says that it is a SELECT that writes nothing, as far as its text
    tells; `is_secret` that its values must not be kept.
    """

    fingerprint: str
    sql: str
    operation: str
    tables: tuple[str, ...]
    is_read: bool
    is_secret: bool

    @property
    def document(self) -> dict[str, Any]:
        """What is told of it."""
        return {"sql": self.sql, "tables": list(self.tables), "operation": self.operation}


def statement_of(sql: str) -> Statement:
    """The statement with this text. What was met before costs a look into a dictionary."""
    return known(sql) if len(sql) <= LONGEST_KNOWN else known(shortened(sql))


@lru_cache(maxsize=MOST_KNOWN)
def known(sql: str) -> Statement:
    """The same for a text that is worth remembering."""
    shape = shape_of(sql)
    operation = operation_of(shape)
    is_secret = any(table in sql for table in SECRET_TABLES)
    return Statement(
        blake2b(shape.encode(), digest_size=8).hexdigest(),
        (shape if is_secret else sql)[:LONGEST_SQL],
        operation,
        tables_of(shape),
        operation == "SELECT",
        is_secret,
    )


def shortened(sql: str) -> str:
    """A long text with its lists of placeholders folded, cut where even that is long.

    Replacing twos by ones takes as many steps as the length has binary digits, each as fast as
    copying.
    """
    for many, one in (("%s, %s", "%s"), ("(%s), (%s)", "(%s)")):
        while many in sql:
            sql = sql.replace(many, one)
    return sql[: 2 * LONGEST_KNOWN]


def shape_of(sql: str) -> str:
    """The text without what differs from one run to the next: placeholders are in its place."""
    text = PARTS.sub(_plain, sql)
    text = SPACE.sub(" ", text).strip(" ;")
    text = SAVEPOINT.sub(lambda match: f"{match[1].upper()} %s", text)
    text = CURSOR_NAME.sub("%s", text)
    return ROWS.sub(r"\1", LIST.sub("%s", text))


def without_secrets(sql: str) -> str:
    """A text as PostgreSQL tells it; only its shape where values are nobody's business.

    PostgreSQL cuts texts: what stands behind a quote that nothing ends is left out too.
    """
    if not any(table in sql for table in SECRET_TABLES):
        return sql
    return shape_of(sql).partition("'")[0]


def _plain(part: re.Match[str]) -> str:
    if part["kept"]:
        return part["kept"]
    return " " if part["note"] else "%s"


def operation_of(shape: str) -> str:
    """The verb of a statement; for WITH that of what it does."""
    found = OPERATION.match(shape)
    verb = found[1].upper() if found else ""
    if verb not in ("SELECT", "WITH"):
        return verb
    writes = WRITES.search(LOCKS.sub("", shape))
    return writes[1].split()[0].upper() if writes else "SELECT"


def tables_of(shape: str) -> tuple[str, ...]:
    """The tables that it names, in order, without those that it defines itself."""
    text = NO_TABLE.sub("", LOCKS.sub("", shape))
    names = [(match.start(), match[1]) for match in TABLE.finditer(text)]
    names += [(match.start(), match[1]) for match in INTO_COLUMNS.finditer(text)]
    own = {name.lower() for name in NAMED_HERE.findall(text)} | NO_NAMES
    found = (name.replace('"', "") for _, name in sorted(names))
    return tuple(dict.fromkeys(name for name in found if name.lower() not in own))
