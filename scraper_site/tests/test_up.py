"""`manage.py up` as a user runs it: a process of its own on a data directory of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import psutil
import pytest

from cachelayer.tests.ports import free_ports
from scraper_site.embedded import Engines

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 60.0


def free_port() -> int:
    return free_ports(1)[0]


class Up:
    """One `manage.py up`; its children carry the data directory in their environment."""

    def __init__(
        self, data_dir: Path, *arguments: str, root: Path = ROOT, **environment: str
    ) -> None:
        self.data_dir = data_dir
        ours = {"DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PROCESS_ROLE", "PORT"}
        inherited = {name: text for name, text in os.environ.items() if name not in ours}
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--data-dir", str(data_dir), *arguments],
            cwd=root,
            env=inherited | {"UP_TEST": str(data_dir)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def read_until(self, text: str) -> str:
        """The first line from now on that has the text."""
        assert self.process.stdout is not None
        line: str
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} is not in the output:\n{''.join(self.lines)}")

    def finish(self) -> tuple[int, str]:
        """The exit code, and all that was written."""
        output, _ = self.process.communicate(timeout=TIMEOUT)
        self.lines.append(output)
        return self.process.returncode, "".join(self.lines)

    def family(self) -> list[psutil.Process]:
        """Every live process that this run has started."""
        return [process for process in psutil.process_iter() if self._is_mine(process)]

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                return False
            # PostgreSQL gets a clean environment, but works inside its data directory.
            inside = Path(process.cwd()).is_relative_to(self.data_dir)
            return inside or bool(process.environ().get("UP_TEST") == str(self.data_dir))
        except psutil.Error:
            return False


@pytest.fixture
def started() -> Iterator[list[Up]]:
    """The runs of a test; whatever is left of them at its end is killed."""
    runs: list[Up] = []
    yield runs
    for run in runs:
        for process in run.family():
            process.kill()
        run.process.communicate()


def test_a_port_in_use_is_named_with_the_way_out(data_dir: Path, started: list[Up]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        started.append(Up(data_dir, "--port", str(port)))
        code, output = started[0].finish()
    assert code == 1
    assert f"Port {port} is in use" in output
    assert "make run PORT=" in output
    assert started[0].family() == []


def test_a_data_directory_in_use_is_named(
    data_dir: Path, started: list[Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")
    with Engines(data_dir, durable=False):
        started.append(Up(data_dir, "--port", str(free_port())))
        code, output = started[0].finish()
    assert code == 1
    assert f"{data_dir} is in use by process {os.getpid()}" in output


def test_a_postgresql_that_does_not_start_is_explained(data_dir: Path, started: list[Up]) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("9.6\n")
    (data_dir / "postgres" / "postgresql.conf").touch()
    if os.geteuid() == 0:
        for path in (data_dir / "postgres", *(data_dir / "postgres").iterdir()):
            os.chown(path, 65534, 65534)
    (data_dir / "postgres").chmod(0o700)
    started.append(Up(data_dir, "--port", str(free_port())))
    code, output = started[0].finish()
    assert code == 1
    assert "The embedded postgres exited with code 1" in output
    assert "set its URL to use a server of your own" in output
    assert started[0].family() == []


def test_a_database_that_refuses_is_explained(data_dir: Path, started: list[Up]) -> None:
    url = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/scraper"
    arguments = ("--port", str(free_port()))
    started.append(Up(data_dir, *arguments, DATABASE_URL=url, DB_CONNECT_RETRY="0"))
    code, output = started[0].finish()
    assert code == 1
    assert "set DATABASE_URL to a server that accepts this user" in output
    assert "secret" not in output
    assert started[0].family() == []


def test_a_data_directory_that_cannot_be_made_is_explained(
    data_dir: Path, started: list[Up]
) -> None:
    (data_dir / "file").touch()
    started.append(Up(data_dir / "file" / "below", "--port", str(free_port())))
    code, output = started[0].finish()
    assert code == 1
    assert "Not a directory" in output


def test_once_in_a_clean_clone_scrapes_the_practice_site_and_exits_with_0(
    data_dir: Path, started: list[Up], tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    port = free_port()
    started.append(Up(data_dir, "--once", "--port", str(port), root=clone))
    code, output = started[0].finish()
    assert code == 0, output
    credentials = json.loads((data_dir / "credentials.json").read_text())
    assert "… 30 more" in output
    assert f"http://127.0.0.1:{port}/admin/" in output
    assert credentials["api_key"] in output
    assert started[0].family() == []


def test_it_serves_until_it_is_interrupted_and_stops_everything(
    data_dir: Path, started: list[Up]
) -> None:
    port = free_port()
    up = Up(data_dir, "--port", str(port), "--workers", "2")
    started.append(up)
    up.read_until("Try it")
    with urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=10) as response:
        assert response.status == 200
    up.process.send_signal(signal.SIGINT)
    code, output = up.finish()
    assert code == 0, output
    assert up.family() == []


def test_a_killed_worker_is_restarted_and_said_so(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir, "--port", str(free_port()))
    started.append(up)
    up.read_until("Try it")
    [worker] = [process for process in up.family() if "runworker" in process.cmdline()]
    worker.kill()
    assert "restarting in 0.5 s" in up.read_until("was ended by SIGKILL")
    up.process.terminate()
    code, output = up.finish()
    assert code == 0, output
    assert up.family() == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal")
def test_nothing_outlives_a_killed_up(data_dir: Path, started: list[Up]) -> None:
    up = Up(data_dir, "--port", str(free_port()))
    started.append(up)
    up.read_until("Try it")
    running = [process for process in up.family() if process.pid != up.process.pid]
    assert len(running) >= 5
    up.process.kill()
    _, alive = psutil.wait_procs(running, timeout=TIMEOUT)
    assert alive == []
