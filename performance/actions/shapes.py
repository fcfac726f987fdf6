"""What an action is: arguments that are checked, a preview with figures, and the deed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django.db import DatabaseError, connection, transaction
from pydantic import BaseModel, ConfigDict

from performance.analysis.postgresql.rows import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from django.db.backends.utils import CursorWrapper

# Whoever looks because of a lock must not wait for it.
LONGEST_LOOK = "SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '1s'"
# PostgreSQL's codes of what took longer: query_canceled, lock_not_available.
TOOK_LONGER = {"57014", "55P03"}
# While an action waits for a lock, others may have to wait behind it.
LOCK_TIMEOUT = "5s"
# Bytes a second that a modest disk reads: for estimates, which say "about".
READS = 100 * 1024**2


class Refused(Exception):
    """It is not done; the message says why and what to do."""


class Figure(NamedTuple):
    """A number of a preview; units are those of cards."""

    label: str
    value: Any
    unit: str = "number"


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen: in a sentence, in figures, and what to mind before."""

    says: str
    figures: Sequence[Figure] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What an action works with.

    `cursor` is of a session of its own, outside any transaction and any pool. `tell` takes how far
    it is, for whoever watches.
    """

    cursor: CursorWrapper
    user_id: int
    tell: Callable[[str], None]

    def execute(self, statement: str, *, longest: str, lock: str = "") -> None:
        """Run what may take its time: at most `longest`, as PostgreSQL writes durations.

        Raises django.db.Error, also when it waits for a lock for longer than `lock`, usually
        LOCK_TIMEOUT.
        """
        # What was looked up before came from the pool, where others may need it meanwhile.
        connection.close()
        self.cursor.execute(f"SET lock_timeout = '{lock or LOCK_TIMEOUT}'")
        self.cursor.execute(f"SET statement_timeout = '{longest}'")
        self.cursor.execute(OURS + statement, None)


class Action(BaseModel, ABC):
    """Arguments are fields. Of two that have the same `target` one runs at a time.

    `verb` is what stands on a button, before its arguments or beside them; empty: the title.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    title: ClassVar[str]
    verb: ClassVar[str] = ""
    about: ClassVar[str]
    # Whether users feel it, or something is lost by it: it is then shown as such.
    is_drastic: ClassVar[bool] = False
    # Templates call what they can, and would make one without its arguments.
    do_not_call_in_templates: ClassVar = True

    @classmethod
    def choices(cls) -> Mapping[str, Sequence[str]]:
        """What there is to choose from, by argument."""
        return {}

    @property
    def target(self) -> str:
        """What it is done to."""
        return self.name

    @abstractmethod
    def preview(self) -> Preview:
        """What it would do; changes nothing. Raises Refused."""

    @abstractmethod
    def run(self, work: Work) -> str:
        """Do it, and say what came of it. Raises Refused, django.db.Error and Unavailable."""


@contextmanager
def soon() -> Iterator[None]:
    """PostgreSQL answers what is asked inside, as a preview or choices, within seconds.

    Raises Refused when it takes longer, and django.db.Error.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(LONGEST_LOOK)
            yield
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", None) not in TOOK_LONGER:
            raise
        said = str(error).splitlines()[0]
        raise Refused(
            f"PostgreSQL did not say in time what it would do: {said}. Somebody may hold a lock on "
            "it: the console's page Database shows who."
        ) from error
