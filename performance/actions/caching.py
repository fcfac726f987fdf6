"""A namespace of the cache, filled or emptied."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, ClassVar

from cachelayer.operations import clear, namespaces, survey
from cachelayer.warming import warm, warmers
from performance.actions.shapes import Action, Figure, Preview, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cachelayer.warming import Registered
    from performance.actions.shapes import Work

TELL_EVERY = 100
NAMESPACE = re.compile(r"[\w.-]+", re.ASCII)


class Clear(Action):
    """Empties a namespace."""

    name: ClassVar = "clear"
    title: ClassVar = "Clear a cache namespace"
    verb: ClassVar = "Clear"
    about: ClassVar = "Removes a namespace's entries from level 2, and empties every level 1."
    is_drastic: ClassVar = True

    namespace: str

    @classmethod
    def choices(cls) -> Mapping[str, Sequence[str]]:
        """The namespaces that have entries. Raises Unavailable."""
        return {"namespace": namespaces()}

    @property
    def target(self) -> str:
        """One at a time."""
        return f"cache {self.namespace}"

    def preview(self) -> Preview:
        """How many entries there are. Raises Refused and Unavailable."""
        entries, size = self._found()
        return Preview(
            f"Removes {entries:,} entries of {self.namespace}; they are loaded when asked for.",
            [Figure("Entries", entries), Figure("Size", size, "bytes")],
            ["Every level 1 is emptied whole: processes ask level 2 more for a while."],
        )

    def run(self, work: Work) -> str:
        """Remove them."""
        self._check()
        return f"Removed {clear(self.namespace):,} entries of {self.namespace}."

    def _found(self) -> tuple[int, int]:
        self._check()
        found = survey(self.namespace)
        if self.namespace not in found:
            raise Refused(f"Level 2 has no entries of {self.namespace!r}: there is nothing to do.")
        return found[self.namespace]

    def _check(self) -> None:
        # To clear what is none would still empty every level 1.
        if not NAMESPACE.fullmatch(self.namespace):
            raise Refused(f"{self.namespace!r} is no namespace: letters, digits, '_', '.', '-'.")


class Warm(Action):
    """Fills the cache before anybody asks."""

    name: ClassVar = "warm"
    title: ClassVar = "Warm the cache"
    verb: ClassVar = "Warm"
    about: ClassVar = "Loads what will be asked for, before anybody does."

    namespace: str

    @classmethod
    def choices(cls) -> Mapping[str, Sequence[str]]:
        """The warmers that are registered."""
        return {"namespace": [one.name for one in warmers()]}

    @property
    def target(self) -> str:
        """One at a time."""
        return f"cache {self.namespace}"

    def preview(self) -> Preview:
        """How many values it loads. Raises Refused."""
        values = sum(1 for _ in self._found().loads())
        says = f"Loads up to {values:,} values of {self.namespace} that are not there yet."
        return Preview(says, [Figure("Values", values)])

    def run(self, work: Work) -> str:
        """Load them, one after the other."""
        steps = count(1)

        def progress() -> None:
            if (done := next(steps)) % TELL_EVERY == 0:
                work.tell(f"{done:,} values looked at")

        loaded, failed = warm(self._found(), progress)
        if failed:
            raise Refused(f"{loaded:,} values are there, {failed:,} failed; the log says why.")
        return f"{loaded:,} values of {self.namespace} are there."

    def _found(self) -> Registered:
        known = {one.name: one for one in warmers()}
        if self.namespace not in known:
            listed = ", ".join(known) or "none"
            raise Refused(f"Nothing warms {self.namespace!r}. There are: {listed}.")
        return known[self.namespace]
