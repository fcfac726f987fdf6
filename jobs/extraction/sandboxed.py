"""The sandbox's child: reads documents from stdin under hard limits, answers on stdout.

`python -m jobs.extraction.sandboxed PARENT_PID BYTES` is started by `jobs.extraction.sandbox`.
Frames are a length in four bytes, big-endian, and msgpack; the first one says "ready". A
document that is too much for the limits ends the process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import orjson

from jobs.errors import ScrapeError
from jobs.extraction.reading import Document, read_document

if TYPE_CHECKING:
    from typing import BinaryIO

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer until stdin ends."""
    parent, memory = (int(number) for number in sys.argv[1:])
    die_with(parent)
    # uvloop hands on every file that is inheritable, and copies of the standard ones.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    # A terminal's or a supervisor's signal to the whole group is for the worker to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError):  # macOS has no such limit; elsewhere there is a lower one already
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    write_frame(answers, True)
    while (request := read_frame(requests)) is not None:
        seconds, *fields = request
        limit_cpu(seconds)
        write_frame(answers, answer(Document(*fields)))


def answer(document: Document) -> dict[str, Any]:
    """`formats`, where whatever is no string is JSON already, or `error`: class and message."""
    try:
        formats = read_document(document)
    except ScrapeError as error:
        return {"error": (type(error).__name__, error.message)}
    except MemoryError:
        raise
    except Exception:
        traceback.print_exc()
        return {"error": (ScrapeError.__name__, "")}
    return {
        "formats": {
            name: value if isinstance(value, str) else orjson.dumps(value)
            for name, value in formats.items()
        }
    }


def limit_cpu(seconds: float) -> None:
    """Die after so much more work: nobody else would end this while the worker is stopped."""
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1, resource.RLIM_INFINITY)
    )


def die_with(parent: int) -> None:
    """Be killed when the worker ends, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the worker that started this process is gone")


def read_frame(stream: BinaryIO) -> Any:
    """The next message, or None at the end."""
    head = stream.read(4)
    return msgpack.unpackb(stream.read(int.from_bytes(head))) if head else None


def write_frame(stream: BinaryIO, message: object) -> None:
    """Send a message at once."""
    packed = msgpack.packb(message)
    stream.write(len(packed).to_bytes(4))
    stream.write(packed)
    stream.flush()


if __name__ == "__main__":
    main()
