"""One readable stream of what several processes write."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

# Bright enough on dark and on light terminals: cyan, green, magenta, blue, yellow.
COLOURS = (36, 32, 35, 34, 33)


class Output:
    """Writes whole lines behind the name of their process, coloured on a terminal."""

    def __init__(self, stream: TextIO, names: Sequence[str]) -> None:
        """`names` are the processes to expect: they get a colour each, and the width to align."""
        self._stream = stream
        self._width = max(map(len, names))
        self.coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self._colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
        self._lock = threading.Lock()

    def line(self, name: str, text: str) -> None:
        """Write one line of one process."""
        prefix = f"{name:<{self._width}} |"
        if self.coloured:
            prefix = f"\x1b[{self._colours.get(name, 37)}m{prefix}\x1b[0m"
        self.block(f"{prefix} {text}\n")

    def block(self, text: str) -> None:
        """Write text that other lines must not cut in two."""
        # Whoever read us may be gone (`up | head`); the children must be relayed all the same.
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
