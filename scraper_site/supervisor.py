"""Children of one process: started, relayed line by line, restarted when they die, stopped.

Everything but the relaying happens in the thread that calls `Supervisor`, which must be the main
one: Linux ends the children when the *thread* that started them ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

FIRST_DELAY = 0.5
LONGEST_DELAY = 10.0
STEADY_AFTER = 30.0
POLL_INTERVAL = 0.02
IDLE_INTERVAL = 0.2
TAIL_LINES = 10
LONGEST_LINE = 65_536
LEASH = Path(__file__).with_name("leash.py")
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Report = Callable[[str, str], None]
"""Takes a process's name and one line of what it wrote."""


class ChildError(Exception):
    """A child did not come up. `name` says which, `lines` what it wrote last."""

    def __init__(self, name: str, reason: str, lines: Sequence[str]) -> None:
        self.name = name
        self.reason = reason
        self.lines = tuple(lines)
        super().__init__("\n".join([f"{name} {reason}", *(f"  {line}" for line in lines)]))


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """How to run one child; times are seconds.

    `account` is a uid and gid to run as. `ready` answers whether the child serves; without it a
    child counts as ready once started. `attempts` bounds the starts before `settle`.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    account: tuple[int, int] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 30.0
    ready: Callable[[], bool] | None = None
    attempts: int = 3


class Child:
    """One supervised process and its restarts."""

    def __init__(self, spec: ProcessSpec, report: Report) -> None:
        self.spec = spec
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.failures = 0
        self.restart_at: float | None = None
        self.is_ready = spec.ready is None
        self._report = report
        self._delay = FIRST_DELAY
        self.start()

    def start(self) -> None:
        """Start the process in a session of its own, out of reach of the terminal's Ctrl-C."""
        spec = self.spec
        account = "-" if spec.account is None else "{}:{}".format(*spec.account)
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid())]
        with signals_held():
            self.process = subprocess.Popen(
                [*leash, str(int(spec.stop_signal)), account, *spec.argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=spec.cwd,
                env=None if spec.env is None else dict(spec.env),
                start_new_session=True,
            )
            self._relay = threading.Thread(
                target=self._relay_lines, args=(self.process.stdout,), daemon=True
            )
            self._relay.start()
        self.started_at = time.monotonic()
        self.restart_at = None

    def _relay_lines(self, stdout: IO[bytes]) -> None:
        with stdout:
            for raw in iter(lambda: stdout.readline(LONGEST_LINE), b""):
                line = raw.decode(errors="replace").rstrip()
                if line:
                    self.tail.append(line)
                    self._report(self.spec.name, line)

    def notice_ready(self) -> bool:
        """Whether it has served since its first start."""
        if not self.is_ready and self.restart_at is None:
            self.is_ready = self.spec.ready is None or self.spec.ready()
        return self.is_ready

    def schedule_restart(self) -> float:
        """Note a death; returns the delay before the next start, in seconds."""
        self.failures += 1
        if time.monotonic() - self.started_at >= STEADY_AFTER:
            self._delay = FIRST_DELAY
        delay = self._delay
        self._delay = min(2 * delay, LONGEST_DELAY)
        self.restart_at = time.monotonic() + delay
        return delay

    def ending(self) -> str:
        """How the process ended, as the rest of a sentence."""
        code = self.finish()
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"exited with code {code}"

    def finish(self) -> int:
        """Wait for the end and for the last lines; returns the exit code."""
        code = self.process.wait()
        # What the process leaves behind may hold the pipe open for longer.
        self._relay.join(timeout=1)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Signal the process itself, which passes it on to its own children as it likes."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it and whatever it started in its session's group, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Runs children; use it as a context manager, which stops them on the way out."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._children: list[Child] = []
        self._settled = False
        self.stopping = False

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, spec: ProcessSpec) -> Child:
        """Start a child after those that it needs: stopping goes in reverse order."""
        with signals_held():
            child = Child(spec, self._report)
            self._children.append(child)
        return child

    def settle(self) -> None:
        """From now on a child that dies is restarted for ever, however often it fails."""
        self._settled = True

    def check(self) -> None:
        """Restart what died. Raises ChildError when a child fails to start again and again."""
        for child in self._children:
            if child.restart_at is not None:
                if time.monotonic() >= child.restart_at:
                    child.start()
            elif child.process.poll() is not None:
                self._handle_death(child)

    def _handle_death(self, child: Child) -> None:
        ending = child.ending()
        delay = child.schedule_restart()
        if not self._settled and child.failures >= child.spec.attempts:
            raise ChildError(child.spec.name, f"{ending} while starting", child.tail)
        self._report("up", f"{child.spec.name} {ending}; restarting in {delay:g} s")

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Supervise until the condition holds; False when the time is over."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.check()
            time.sleep(POLL_INTERVAL)
        return True

    def wait_ready(self, timeout: float, children: Sequence[Child] | None = None) -> None:
        """Supervise until these (or all) serve. Raises ChildError naming the one that does not."""
        awaited = self._children if children is None else children

        def all_ready() -> bool:
            # Every one is asked, so that each notices its own moment.
            return all([child.notice_ready() for child in awaited])

        if not self.wait_until(all_ready, timeout):
            late = next(child for child in awaited if not child.is_ready)
            raise ChildError(late.spec.name, f"did not answer within {timeout:g} s", late.tail)

    def run(self) -> None:
        """Supervise until a signal or an exception ends it."""
        while True:
            self.check()
            time.sleep(IDLE_INTERVAL)

    def stop(self) -> None:
        """Stop all children, the last started first. Safe to call again."""
        self.stopping = True
        while self._children:
            child = self._children[-1]
            child.signal(child.spec.stop_signal)
            try:
                child.process.wait(child.spec.stop_timeout)
            except subprocess.TimeoutExpired:
                self._report("up", f"{child.spec.name} does not stop; killing it")
            child.kill()
            child.finish()
            self._children.pop()

    def kill(self) -> None:
        """End all children at once, without asking; a `stop` that waits for them goes on."""
        for child in reversed(self._children):
            child.kill()


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold back what stops us: between fork and bookkeeping it would lose a child.

    Threads must be started inside too: they inherit it, and a signal that one of them takes
    reaches the main thread all the same.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
