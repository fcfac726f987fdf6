"""A process with a loop as a worker's: does what its standard input says, tells what it saw.

`block` keeps the loop busy for a second. `tell` writes what was recorded since it was last
asked as a line of JSON: the blocking calls and the largest lateness in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import django
import uvloop


def block() -> None:
    """Let nothing else run."""
    until = time.perf_counter() + 1
    while time.perf_counter() < until:
        pass


async def main() -> None:
    """Serve the standard input until it ends."""
    from performance.recorders.lag import LagSampler
    from performance.recording.heartbeat import BEAT
    from performance.recording.process import buffer

    LagSampler("worker").start()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    # Its heart beats.
    await asyncio.sleep(2 * BEAT)
    print("ready", flush=True)  # noqa: T201
    async for line in reader:
        if line == b"block\n":
            block()
            continue
        # What was held up has come then.
        await asyncio.sleep(2 * BEAT)
        tallies = buffer.take("").tallies
        calls = [name.key for name in tallies if name.type == "blocking_call"]
        late = max(tally.max for name, tally in tallies.items() if name.type == "lag")
        print(json.dumps({"calls": calls, "late": late}), flush=True)  # noqa: T201


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scraper_site.settings")
    django.setup()
    uvloop.run(main())
