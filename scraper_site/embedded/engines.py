"""Both engines together on one data directory, which one process owns at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING

from scraper_site.embedded.errors import (
    EngineError,
    explain,
    file_errors_explained,
    permission_advice,
)
from scraper_site.embedded.postgres import EmbeddedPostgres
from scraper_site.embedded.valkey import EmbeddedValkey
from scraper_site.supervisor import ChildError, Report, Supervisor

if TYPE_CHECKING:
    from pathlib import Path

READY_TIMEOUT = 60.0

Engine = EmbeddedPostgres | EmbeddedValkey


def ignore(_name: str, _line: str) -> None:
    """A report that nobody reads; failures carry their last lines anyway."""


class Engines:
    """The engines that the environment does not replace by servers of its own.

    As a context manager it starts them, waits until they answer, gives the variables that name
    them and stops them at the end; those of another live process it only uses.
    Raises EngineError.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True, report: Report = ignore) -> None:
        self.data_dir = data_dir.resolve()
        self.postgres = EmbeddedPostgres(self.data_dir, durable=durable)
        self.valkey = EmbeddedValkey(self.data_dir)
        engines: tuple[Engine, ...] = (self.postgres, self.valkey)
        self.wanted = [e for e in engines if os.environ.get(e.variable, e.url) == e.url]
        self._report = report
        self._closing = ExitStack()

    def __enter__(self) -> dict[str, str]:
        with ExitStack() as stack:
            supervisor = Supervisor(self._report)
            lock = self._lock()
            if not isinstance(lock, str):
                stack.enter_context(lock)
                stack.enter_context(supervisor)
                self._start(supervisor)
            else:
                self._wait_for_owner(supervisor)
            self._closing = stack.pop_all()
        return {engine.variable: engine.url for engine in self.wanted}

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def start(self, supervisor: Supervisor) -> IO[str]:
        """Start them under the caller's supervisor; returns the lock, to be closed after its stop.

        Raises EngineError, also when another live process owns the data directory.
        """
        lock = self._lock()
        if isinstance(lock, str):
            raise EngineError(
                f"{self.data_dir} is in use by process {lock}.\n"
                "Stop that one, or give this one a directory of its own with --data-dir."
            )
        with ExitStack() as stack:
            stack.enter_context(lock)
            self._start(supervisor)
            stack.pop_all()
        return lock

    def _start(self, supervisor: Supervisor) -> None:
        children = []
        for engine in self.wanted:
            engine.prepare()
            children.append(supervisor.start(engine.command()))
        try:
            supervisor.wait_ready(READY_TIMEOUT, children)
        except ChildError as failure:
            what = f"The embedded {failure.name} {failure.reason}:"
            raise explain(what, failure.lines, self.data_dir) from None
        if self.postgres in self.wanted:
            self.postgres.create_database()

    def _wait_for_owner(self, supervisor: Supervisor) -> None:
        def all_ready() -> bool:
            return all(engine.ready() for engine in self.wanted)

        if not supervisor.wait_until(all_ready, READY_TIMEOUT):
            raise EngineError(
                f"Another process holds {self.data_dir}, but its engines do not answer.\n"
                "Stop it and start again."
            )

    def _lock(self) -> IO[str] | str:
        """The lock on the data directory, or the process that holds it.

        The kernel frees it however its holder ends.
        """
        make_data_dir(self.data_dir)
        with ExitStack() as stack, file_errors_explained(self.data_dir):
            lock = stack.enter_context((self.data_dir / "lock").open("a+"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                return lock.read().strip()
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            stack.pop_all()
            return lock


def make_data_dir(data_dir: Path) -> None:
    """Create the data directory for this user alone; root lets PostgreSQL pass through it."""
    with file_errors_explained(data_dir.parent):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise EngineError(permission_advice(data_dir))


def local_environment(data_dir: Path) -> dict[str, str]:
    """The variables that a fresh checkout lacks: only those not set already."""
    data_dir = data_dir.resolve()
    make_data_dir(data_dir)
    defaults = {
        "DATABASE_URL": EmbeddedPostgres(data_dir).url,
        "REDIS_URL": EmbeddedValkey(data_dir).url,
        "HTTPS": "false",
    }
    if not os.environ.get("SECRET_KEY"):
        with file_errors_explained(data_dir):
            defaults["SECRET_KEY"] = _secret_key(data_dir / "secret_key")
    return {name: value for name, value in defaults.items() if not os.environ.get(name)}


def _secret_key(path: Path) -> str:
    if not path.exists():
        create_private(path, secrets.token_urlsafe(48))
    return path.read_text().strip()


def create_private(path: Path, text: str) -> None:
    """Create a file whole and for its owner only; one that is there already stays as it is."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    write_private(fresh, text)
    # A link, unlike a rename, never replaces what a faster process has written.
    with suppress(FileExistsError):
        path.hardlink_to(fresh)
    fresh.unlink()


def write_private(path: Path, text: str) -> None:
    """Write a file that is for its owner only from the first moment."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
