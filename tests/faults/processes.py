"""Processes that the suite starts, reads, pauses and kills."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from scraper_site.supervisor import LEASH

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
START_DEADLINE = 30.0
POLL = 0.02


def until(condition: Callable[[], Any], what: str, seconds: float = START_DEADLINE) -> Any:
    """The condition's first true value; AssertionError when the deadline passes without one."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(POLL)


def signal_tree(pid: int, signum: int) -> None:
    """Signal a process and all below it; the first is stopped meanwhile, so that none is missed."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        parent.suspend()
        for process in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signum)


class Process:
    """One process of the service or of the suite; what it writes goes to a file.

    It ends with the thread that started it, however that ends.
    """

    def __init__(self, argv: list[str], log: Path, **environment: str) -> None:
        self.log = log
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(signal.SIGKILL))]
        with log.open("ab") as output:
            self._from = output.tell()
            self.process = subprocess.Popen(
                [*leash, "-", sys.executable, *argv],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def output(self) -> str:
        """What it has written."""
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    def has_said(self, pattern: str) -> re.Match[str] | None:
        """The first match in its output."""
        return re.search(pattern, self.output())

    def wait_for(self, pattern: str, seconds: float = START_DEADLINE) -> re.Match[str]:
        """The first match in its output, when it comes."""

        def said() -> re.Match[str] | None:
            found = self.has_said(pattern)
            assert found or self.is_alive, f"{self.log.name} ended:\n{self.output()[-2000:]}"
            return found

        found: re.Match[str] = until(said, f"{pattern!r} in {self.log}", seconds)
        return found

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it and its children at once."""
        if self.is_alive:
            signal_tree(self.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self, seconds: float = 40) -> int:
        """SIGTERM; its exit code. Killed and AssertionError when it takes longer."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.log.name} did not stop within {seconds:g} s") from None
