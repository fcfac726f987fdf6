"""Keeps the loop answering while pages are read that have arrived all at once."""

from __future__ import annotations

import asyncio
from time import perf_counter

# Seconds, about five pages. A claim and a commit each take several turns of the loop, in which the
# fetches of the pages that were read begin too. `manage.py benchmark concurrency`: 10 ms were half
# as good, 1 ms no better, and one page a turn costs a tenth of `benchmark throughput`.
LONGEST_TURN = 0.003


class Turns:
    """Shares out the loop's time between reading pages and everything else.

    Reading does not await: of hundreds of pages that arrive at once all would be read in one turn
    of the loop, and the next claim, the commits and the leases would come after the last of them.
    """

    def __init__(self) -> None:
        """No turn has begun."""
        self._ends = 0.0
        self._is_asked = False

    async def wait(self) -> None:
        """Wait for a turn in which pages have been read for less than LONGEST_TURN, in order."""
        while perf_counter() >= self._ends:
            if not self._is_asked:
                self._is_asked = True
                asyncio.get_running_loop().call_soon(self._begin)
            await asyncio.sleep(0)

    def _begin(self) -> None:
        self._is_asked = False
        self._ends = perf_counter() + LONGEST_TURN
