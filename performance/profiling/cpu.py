"""Where the processor time of this process goes: py-spy looks at it from outside, as its child.

It reads the memory of the running process a hundred times a second, and never stops it for that.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from performance.profiling.asking import Refused
from performance.profiling.frames import file_of
from performance.profiling.stacks import Seen, folded, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 100
# Seconds that starting, looking up symbols and writing may take beyond those that were asked for.
OVERHEAD = 30
# <sys/prctl.h>
PR_SET_PTRACER = 0x59616D61
ANYBODY = ctypes.c_ulong(-1)
FRAME = re.compile(r"(?P<function>.*) \((?P<file>.*?)(?P<line>:\d+)?\)")

FORBIDDEN = (
    "The kernel lets no process look into this one. In a container, add the capability SYS_PTRACE "
    "(docker: --cap-add=SYS_PTRACE; Kubernetes: securityContext.capabilities.add). On a host, set "
    "kernel.yama.ptrace_scope to 0 or 1."
)
ABSENT = "py-spy is not installed beside this Python: install requirements.txt again."


def look(seconds: int) -> Seen:
    """Samples by stack, as many as `RATE` a second when it is never idle. Raises Refused."""
    program = Path(sysconfig.get_path("scripts")) / "py-spy"
    if not program.exists():
        raise Refused(ABSENT)
    with tempfile.TemporaryDirectory(prefix="capture-") as directory, may_be_looked_into():
        output = Path(directory) / "stacks"
        options = ["--duration", str(seconds), "--rate", str(RATE), "--output", str(output)]
        command = [str(program), "record", "--pid", str(os.getpid()), *options]
        try:
            done = subprocess.run(
                [*command, "--nonblocking", "--full-filenames", "--format", "raw"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds + OVERHEAD,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Refused(f"py-spy did not end within {seconds + OVERHEAD} s.") from None
        if done.returncode or not output.exists():
            raise Refused(reason(done.stdout + done.stderr))
        found = parse(output.read_text())
        return Seen(folded((map(short, stack), number) for stack, number in found.items()), {})


def short(frame: str) -> str:
    """A frame with its file as the project has it: `function (jobs/keys.py:12)`.

    What py-spy knows no line of, as a frame of C, has none.
    """
    match = FRAME.fullmatch(frame)
    if match is None:
        return frame
    return f"{match['function']} ({file_of(match['file'])}{match['line'] or ''})"


def reason(said: str) -> str:
    """Why there is nothing, from what py-spy has said."""
    lowered = said.lower()
    if "permission denied" in lowered or "not permitted" in lowered:
        return FORBIDDEN
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "nothing")
    return f"py-spy failed; it said: {last.strip()[:300]}"


@contextmanager
def may_be_looked_into() -> Iterator[None]:
    """Let a child look into this process, where Yama allows that to parents only."""
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    # Without Yama the kernel does not know the request, and needs none.
    libc.prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_PTRACER, ctypes.c_ulong(0), 0, 0, 0)
