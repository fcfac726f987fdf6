"""How far a process grows while its level 1 fills and then evicts, as a part of the budget.

A process of its own, because memory that was used before would hide the growth. Prints the part.
Reads the process's size from /proc, so it runs on Linux only.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

from cachelayer.codec import Entry
from cachelayer.local import LocalCache

PAGE = os.sysconf("SC_PAGE_SIZE")
LIFETIME = 3600.0


def resident() -> int:
    """This process's bytes in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def growth(budget: int, value_bytes: int) -> float:
    """The most that the process grew ÷ the budget, until as many were evicted as fit."""
    cache = LocalCache(budget, LIFETIME)
    gc.collect()
    before = most = resident()
    number, evicted = 0, 0
    while evicted <= len(cache):
        key = f"cache:benchmark:v1:{number:032x}"
        entry = Entry(os.urandom(value_bytes), number + 0.5, number + 1.5, number + 2.5)
        cache.set(key, "benchmark", entry, LIFETIME, token=cache.begin(key))
        number += 1
        evicted = number - len(cache)
        if number % 50 == 0:
            most = max(most, resident())
    return (max(most, resident()) - before) / budget


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=int, required=True, help="bytes")
    parser.add_argument("--value", type=int, required=True, help="bytes of one value")
    options = parser.parse_args()
    sys.stdout.write(f"{growth(options.budget, options.value)}\n")
