"""Tags: what entries depend on, each with a generation that is part of the entries' keys.

Invalidating a tag gives it a new random generation, so that everything written under the old one
is out of reach, in level 2 at once and in other processes as soon as they hear of it. Generations
are random, not counted: one that Valkey evicted or lost comes back as another, never as an old one.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING

from cachelayer.keys import tag_key
from cachelayer.remote import Unavailable, require_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
    from typing import Any

    from cachelayer.remote import Command, Remote

    Calls = Generator[list[Command], list[Any], None]

# Longer than any entry lives, so that a generation is not forgotten before what it invalidates.
LIFETIME = 7 * 24 * 3600
MOST_KNOWN = 100_000


def new_generation() -> str:
    """A generation that no tag ever had."""
    return secrets.token_hex(8)


class Tags:
    """The generations as this process knows them, for at most `ttl` seconds each."""

    def __init__(
        self,
        remote: Remote,
        prefix: str,
        ttl: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Asks `remote` for what it does not know."""
        self._remote = remote
        self._prefix = prefix
        self._ttl = ttl
        self._clock = clock
        self._known: dict[str, tuple[str, float]] = {}
        # Each with a mark of its own: sending one debt must not settle a later one.
        self._unsent: dict[str, object] = {}
        self._lock = threading.Lock()

    def known(self, tags: Sequence[str]) -> list[str] | None:
        """The tags' generations, or None when one of them has to be asked for."""
        if self._unsent:
            return None
        now = self._clock()
        found = []
        for tag in tags:
            generation, until = self._known.get(tag, ("", 0.0))
            if until <= now:
                return None
            found.append(generation)
        return found

    def learn(self, tags: Sequence[str]) -> Generator[list[Command], list[Any], list[str]]:
        """Ask for the tags' generations, agreeing with other processes on new ones.

        Without level 2 this process has generations of its own until it is back.
        """
        try:
            yield from self._send_unsent()
            # Only what is not known: of a tag that was just bumped here, the server may not know.
            known, marks = self._mark(tags)
            commands: list[Command] = []
            for key in (tag_key(self._prefix, tag) for tag in marks):
                commands += [("SET", key, new_generation(), "NX", "EX", LIFETIME), ("GET", key)]
            replies = (yield commands) if commands else []
        except Unavailable:
            return self._own(tags)
        # What is no text (evicted between the two, or of another type) is a generation of nobody.
        found = {
            tag: reply.decode("latin-1") if isinstance(reply, bytes) else new_generation()
            for tag, reply in zip(marks, replies[1::2], strict=True)
        }
        self._remember_marked(marks, found)
        return [known.get(tag) or found[tag] for tag in tags]

    def bump(self, tags: Collection[str]) -> list[Command]:
        """Give tags new generations here; returns the commands that do so for everybody."""
        fresh = {tag: new_generation() for tag in tags}
        self._remember(fresh.items())
        return self._commands(fresh)

    def failed_to_send(self, tags: Collection[str]) -> None:
        """Those commands did not get through: send them before level 2 is asked again."""
        with self._lock:
            self._unsent |= {tag: object() for tag in tags}
            while len(self._unsent) > MOST_KNOWN:
                # What depends on it ends by its own time.
                del self._unsent[next(iter(self._unsent))]

    def forget(self, tags: Iterable[str]) -> None:
        """Another process gave these new generations."""
        with self._lock:
            for tag in tags:
                self._known.pop(tag, None)

    def forget_all(self, *, keep: Collection[str] = ()) -> None:
        """Ask again for everything but what `keep` names: the server has not heard of it yet."""
        with self._lock:
            self._known = {tag: self._known[tag] for tag in keep if tag in self._known}

    def unsent(self) -> tuple[dict[str, object], list[Command]]:
        """The tags whose commands did not get through, and commands that make up for it."""
        with self._lock:
            overdue = dict(self._unsent)
        return overdue, self._commands({tag: new_generation() for tag in overdue})

    def sent(self, overdue: Mapping[str, object]) -> None:
        """The commands of `unsent` got through."""
        with self._lock:
            for tag, mark in overdue.items():
                if self._unsent.get(tag) is mark:
                    del self._unsent[tag]
                    self._known.pop(tag, None)

    def _send_unsent(self) -> Calls:
        overdue, commands = self.unsent()
        if overdue:
            require_all((yield commands))
            self.sent(overdue)

    def _mark(self, tags: Sequence[str]) -> tuple[dict[str, str], dict[str, tuple[str, float]]]:
        """What is known of the tags, and a mark for each of the others, which is being asked for.

        Whoever changes such a tag meanwhile removes its mark.
        """
        now = self._clock()
        with self._lock:
            if len(self._known) > MOST_KNOWN:
                self._known.clear()
            kept = {tag: self._known.get(tag, ("", 0.0)) for tag in tags}
            known = {tag: generation for tag, (generation, until) in kept.items() if until > now}
            marks = {tag: (new_generation(), 0.0) for tag in tags if tag not in known}
            self._known |= marks
        return known, marks

    def _remember_marked(
        self, marks: dict[str, tuple[str, float]], generations: dict[str, str]
    ) -> None:
        """Remember the answers that nothing has overtaken."""
        until = self._clock() + self._ttl
        with self._lock:
            for tag, generation in generations.items():
                if self._known.get(tag) is marks[tag]:
                    self._known[tag] = (generation, until)

    def _commands(self, generations: dict[str, str]) -> list[Command]:
        return [
            ("SET", tag_key(self._prefix, tag), generation, "EX", LIFETIME)
            for tag, generation in generations.items()
        ]

    def _own(self, tags: Sequence[str]) -> list[str]:
        now = self._clock()
        with self._lock:
            for tag in tags:
                _, until = self._known.get(tag, ("", 0.0))
                if until <= now:
                    self._known[tag] = (new_generation(), now + self._ttl)
            return [self._known[tag][0] for tag in tags]

    def _remember(self, generations: Iterable[tuple[str, str]]) -> None:
        until = self._clock() + self._ttl
        with self._lock:
            if len(self._known) > MOST_KNOWN:
                self._known.clear()
            for tag, generation in generations:
                self._known[tag] = (generation, until)
