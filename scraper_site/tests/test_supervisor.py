from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from scraper_site.supervisor import ChildError, ProcessSpec, Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 20.0
WAIT = "import sys; sys.stdin.close(); import signal; print('up', flush=True); signal.pause()"


class Lines(list[tuple[str, str]]):
    """What was reported, as (name, line)."""

    def report(self, name: str, line: str) -> None:
        self.append((name, line))

    def of(self, name: str) -> list[str]:
        return [line for who, line in self if who == name]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def supervisor(lines: Lines) -> Iterator[Supervisor]:
    with Supervisor(lines.report) as supervisor:
        yield supervisor


def python(name: str, code: str, **options: object) -> ProcessSpec:
    return ProcessSpec(name=name, argv=[sys.executable, "-c", code], **options)  # type: ignore[arg-type]


def test_it_relays_what_a_child_writes_line_by_line(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(python("a", f"import sys; print('one'); print('two', file=sys.stderr);{WAIT}"))
    assert supervisor.wait_until(lambda: len(lines.of("a")) == 3, TIMEOUT)
    assert sorted(lines.of("a")) == ["one", "two", "up"]


def test_it_restarts_a_killed_child_and_says_so(supervisor: Supervisor, lines: Lines) -> None:
    child = supervisor.start(python("worker-1", WAIT))
    assert supervisor.wait_until(lambda: lines.of("worker-1") == ["up"], TIMEOUT)
    os.kill(child.process.pid, signal.SIGKILL)
    assert supervisor.wait_until(lambda: lines.of("worker-1") == ["up", "up"], TIMEOUT)
    assert lines.of("up") == ["worker-1 was ended by SIGKILL; restarting in 0.5 s"]


def test_it_names_the_exit_code_of_a_child_that_left(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(python("worker-1", "raise SystemExit(7)"))
    assert supervisor.wait_until(lambda: bool(lines.of("up")), TIMEOUT)
    assert lines.of("up") == ["worker-1 exited with code 7; restarting in 0.5 s"]


def test_it_waits_longer_after_each_quick_death(supervisor: Supervisor) -> None:
    child = supervisor.start(python("a", WAIT))
    assert [child.schedule_restart() for _ in range(6)] == [0.5, 1, 2, 4, 8, 10]


def test_a_child_that_ran_for_long_is_restarted_without_delay(supervisor: Supervisor) -> None:
    child = supervisor.start(python("a", WAIT))
    child.schedule_restart()
    child.schedule_restart()
    child.started_at -= 31
    assert child.schedule_restart() == 0.5


def test_it_gives_up_on_a_child_that_never_starts_and_shows_its_last_lines(
    supervisor: Supervisor,
) -> None:
    supervisor.start(python("a", "raise SystemExit('no such thing')", attempts=2))
    with pytest.raises(ChildError) as caught:
        supervisor.wait_until(lambda: False, TIMEOUT)
    assert (
        str(caught.value) == "a exited with code 1 while starting\n  no such thing\n  no such thing"
    )


def test_it_never_gives_up_once_settled(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(python("a", "raise SystemExit(1)", attempts=1))
    supervisor.settle()
    assert supervisor.wait_until(lambda: len(lines.of("up")) == 2, TIMEOUT)


def test_a_program_that_does_not_exist_is_named(supervisor: Supervisor) -> None:
    supervisor.start(ProcessSpec(name="a", argv=["/no/such/program"], attempts=1))
    with pytest.raises(ChildError, match="cannot run /no/such/program"):
        supervisor.wait_until(lambda: False, TIMEOUT)


def test_waiting_names_the_child_that_never_becomes_ready(supervisor: Supervisor) -> None:
    supervisor.start(python("good", WAIT, ready=lambda: True))
    supervisor.start(python("late", WAIT, ready=lambda: False))
    with pytest.raises(ChildError, match=r"late did not answer within 0\.1 s"):
        supervisor.wait_ready(0.1)


def test_it_stops_children_in_reverse_order(supervisor: Supervisor, lines: Lines) -> None:
    code = "import signal; signal.signal(15, lambda *_: exit(print('bye'))); " + WAIT
    for name in "abc":
        supervisor.start(python(name, code))
    assert supervisor.wait_until(lambda: len(lines) == 3, TIMEOUT)
    supervisor.stop()
    assert [name for name, line in lines if line == "bye"] == ["c", "b", "a"]


def test_stopping_twice_does_nothing_more(supervisor: Supervisor) -> None:
    supervisor.start(python("a", WAIT))
    supervisor.stop()
    supervisor.stop()


def test_it_kills_a_child_that_does_not_stop(supervisor: Supervisor, lines: Lines) -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); " + WAIT
    child = supervisor.start(python("deaf", code, stop_timeout=0.1))
    assert supervisor.wait_until(lambda: lines.of("deaf") == ["up"], TIMEOUT)
    supervisor.stop()
    assert child.process.returncode == -signal.SIGKILL
    assert lines.of("up") == ["deaf does not stop; killing it"]


def test_what_a_child_left_behind_is_killed_with_it(supervisor: Supervisor, lines: Lines) -> None:
    inner = f"import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid); {WAIT}"
    supervisor.start(python("a", inner))
    assert supervisor.wait_until(lambda: len(lines.of("a")) == 2, TIMEOUT)
    grandchild = psutil.Process(int(lines.of("a")[0]))
    supervisor.stop()
    grandchild.wait(TIMEOUT)


def test_a_child_is_out_of_reach_of_the_terminal(supervisor: Supervisor, lines: Lines) -> None:
    child = supervisor.start(python("a", WAIT))
    assert supervisor.wait_until(lambda: lines.of("a") == ["up"], TIMEOUT)
    assert os.getsid(child.process.pid) == child.process.pid


def test_a_child_does_not_inherit_blocked_signals(supervisor: Supervisor, lines: Lines) -> None:
    code = f"import signal; print(len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))); {WAIT}"
    supervisor.start(python("a", code))
    assert supervisor.wait_until(lambda: len(lines.of("a")) == 2, TIMEOUT)
    assert lines.of("a")[0] == "0"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal")
def test_children_end_when_the_supervising_process_is_killed() -> None:
    program = (
        "import sys\n"
        "from scraper_site.supervisor import ProcessSpec, Supervisor\n"
        "supervisor = Supervisor(lambda name, line: print(line, flush=True))\n"
        f"code = {WAIT!r}.replace(\"'up'\", '__import__(\"os\").getpid()')\n"
        "supervisor.start(ProcessSpec(name='a', argv=[sys.executable, '-c', code]))\n"
        "supervisor.run()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(TIMEOUT)
