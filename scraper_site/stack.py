"""The whole service on one machine: which processes, in which order, with which environment."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connections
from rich.console import Console

from scraper_site.credentials import Credentials, CredentialsError, ensure_credentials
from scraper_site.embedded import EngineError, Engines
from scraper_site.env import environment
from scraper_site.first_scrape import (
    DEADLINE,
    FirstScrape,
    FirstScrapeError,
    StillWaiting,
    answers,
    run_first_scrape,
)
from scraper_site.output import Output
from scraper_site.supervisor import STOPPING, ChildError, ProcessSpec, Supervisor, signals_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO

T = TypeVar("T")

HOST = "127.0.0.1"
READY_TIMEOUT = 60.0
TABLE_WIDTH = 130


class StartError(Exception):
    """The stack cannot start; the message says why and what to do."""


# What `Stack.run` raises when it cannot do its work; each message is for the person who ran it.
FAILURES = (
    StartError,
    EngineError,
    ChildError,
    CredentialsError,
    FirstScrapeError,
    OperationalError,
)


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What `manage.py up` was asked for."""

    port: int
    workers: int
    data_dir: Path
    once: bool


class Stack:
    """Engines, practice site, web server and workers under one supervisor."""

    def __init__(self, options: StackOptions, stream: TextIO) -> None:
        """Everything is written to `stream`."""
        self._options = options
        self._data_dir = options.data_dir.resolve()
        self._workers = [f"worker-{number}" for number in range(1, options.workers + 1)]
        self._output = Output(stream, ["up", "postgres", "valkey", "site", "web", *self._workers])
        self._supervisor = Supervisor(self._output.line)
        wanted = environment().metrics_port if environment().performance_enabled else 0
        self._metrics_port = choose_port(wanted, taken=options.port) if wanted else 0

    def run(self) -> bool:
        """Start everything, scrape once, serve until interrupted (unless `once`).

        Returns whether the first scrape brought the right records. Stops all it started, always.
        """
        require_free_port(self._options.port)
        credentials = self._credentials()
        with ExitStack() as stack:
            stack.enter_context(interrupt_on_signals(self._supervisor))
            # Pushed first, closed last: the data directory is ours until all children are gone.
            locks = stack.enter_context(ExitStack())
            stack.enter_context(self._supervisor)
            try:
                return self._serve(credentials, locks)
            except KeyboardInterrupt:
                self._say("stopping; once more kills")
                raise

    def _serve(self, credentials: Credentials, locks: ExitStack) -> bool:
        self._start(credentials, locks)
        scrape = self._scrape(credentials)
        self._supervisor.settle()
        self._show(scrape, credentials)
        if not self._options.once:
            self._supervisor.run()
        return scrape is not None and scrape.is_right

    def _credentials(self) -> Credentials:
        known = Credentials.load(self._data_dir)
        wanted = urlsplit(known.site_url).port if known else None
        site_port = choose_port(wanted, taken=self._options.port)
        return Credentials.load_or_create(
            self._data_dir,
            url=f"http://{HOST}:{self._options.port}/",
            site_url=f"http://{HOST}:{site_port}/",
        )

    def _start(self, credentials: Credentials, locks: ExitStack) -> None:
        self._say("starting")
        start = self._supervisor.start
        start(self._site(credentials))
        engines = Engines(self._data_dir)
        if engines.wanted:
            locks.enter_context(engines.start(self._supervisor))
        call_command("migrate", verbosity=0, interactive=False)
        serving = [start(self._web(credentials))]
        serving += [start(self._worker(name, credentials)) for name in self._workers]
        ensure_credentials(credentials)
        connections.close_all()
        self._supervisor.wait_ready(READY_TIMEOUT)

    def _site(self, credentials: Credentials) -> ProcessSpec:
        port = urlsplit(credentials.site_url).port
        return ProcessSpec(
            name="site",
            argv=[sys.executable, "-m", "loadtests.site", "--port", str(port)],
            env=self._environment(credentials),
            cwd=settings.BASE_DIR,
            ready=lambda: answers(credentials.site_url),
        )

    def _web(self, credentials: Credentials) -> ProcessSpec:
        return ProcessSpec(
            name="web",
            argv=[sys.executable, "-m", "gunicorn", "-c", "python:scraper_site.gunicorn_conf"],
            env=self._environment(credentials) | {"PORT": str(self._options.port)},
            cwd=settings.BASE_DIR,
            ready=lambda: answers(urljoin(credentials.url, "/health/ready")),
        )

    def _worker(self, name: str, credentials: Credentials) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            argv=[sys.executable, "manage.py", "runworker"],
            env=self._environment(credentials) | {"PROCESS_ROLE": "worker"},
            cwd=settings.BASE_DIR,
        )

    def _environment(self, credentials: Credentials) -> dict[str, str]:
        """What all children share: the site's address is the one private one they may scrape."""
        site = urlsplit(credentials.site_url).netloc
        allowed = [os.environ.get("FETCH_ALLOWED_ADDRESSES", ""), site]
        return os.environ | {
            "FETCH_ALLOWED_ADDRESSES": ",".join(filter(None, allowed)),
            "METRICS_PORT": str(self._metrics_port),
            "PYTHONUNBUFFERED": "1",
        }

    def _scrape(self, credentials: Credentials) -> FirstScrape | None:
        """The first scrape, while the children are watched.

        None when it waits behind what an earlier run has left: the service is there all the same.
        """
        self._say("submitting the first scrape")
        future = in_background(lambda: run_first_scrape(credentials))
        self._supervisor.wait_until(future.done, 2 * DEADLINE)
        try:
            return future.result(timeout=0)
        except StillWaiting as waiting:
            if self._options.once:
                raise
            self._say(str(waiting))
            return None

    def _say(self, text: str) -> None:
        self._output.line("up", text)

    def _show(self, scrape: FirstScrape | None, credentials: Credentials) -> None:
        console = Console(
            width=None if sys.stdout.isatty() else TABLE_WIDTH,
            color_system="auto" if self._output.coloured else None,
            highlight=False,
        )
        with console.capture() as shown:
            if scrape is not None:
                console.print(scrape.table())
                if not scrape.is_right:
                    console.print("These are not the records that the practice site serves.")
            # Wrapped by the terminal, if at all: a key or a command must stay copyable.
            console.print(summary(credentials, self._metrics_port), soft_wrap=True, markup=False)
        self._output.block(f"\n{shown.get()}\n")


def summary(credentials: Credentials, metrics_port: int) -> str:
    """Where everything is and how to get in."""
    api = urljoin(credentials.url, "/api/v1/jobs")
    page = urljoin(credentials.site_url, "/")
    rows = {
        "API": api,
        "API docs": urljoin(credentials.url, "/api/docs/"),
        "Admin": urljoin(credentials.url, "/admin/"),
        "Admin login": f"{credentials.admin_user} / {credentials.admin_password}",
        "API key": credentials.api_key,
        "Practice site": page,
        "Metrics": f"http://{HOST}:{metrics_port}/metrics" if metrics_port else "off",
        "Try it": (
            f"curl -H 'Authorization: Bearer {credentials.api_key}' -H 'Content-Type: "
            f'application/json\' -d \'{{"url": "{page}"}}\' {api}'
        ),
    }
    return "\n".join(f"{name:<14} {value}" for name, value in rows.items())


def in_background(function: Callable[[], T]) -> Future[T]:
    """Call it in a thread that does not hold up the exit of the process."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)

    with signals_held():
        threading.Thread(target=call, daemon=True).start()
    return future


def port_is_free(port: int) -> bool:
    """Whether a server can listen there."""
    with closing(socket.socket()) as probe:
        # As servers do: connections that linger after a stop are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def require_free_port(port: int) -> None:
    """Raise StartError when something listens there, or this user may not."""
    if not port_is_free(port):
        other = choose_port(port + 1 if port < 65535 else None, taken=port)
        raise StartError(
            f"Port {port} is in use, or this user may not listen on it.\n"
            f"Stop what listens there, or take another: make run PORT={other}"
        )


def choose_port(wanted: int | None, *, taken: int) -> int:
    """The wanted port when it is free and not `taken`, else any free one."""
    if wanted and wanted != taken and port_is_free(wanted):
        return wanted
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def interrupt_on_signals(supervisor: Supervisor) -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt; the next one kills."""
    asked = False

    def handle(*_: object) -> None:
        nonlocal asked
        if asked or supervisor.stopping:
            supervisor.kill()
        else:
            asked = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
