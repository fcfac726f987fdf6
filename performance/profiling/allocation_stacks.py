"""Reads a file of memray and writes its stacks, folded, to the standard output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import memray

from performance.profiling.frames import file_of
from performance.profiling.stacks import folded, text

if TYPE_CHECKING:
    from collections.abc import Iterator


def stacks_of(path: str) -> Iterator[tuple[list[str], int]]:
    """Stacks and the bytes they held when most were held."""
    with memray.FileReader(path) as reader:
        for record in reader.get_high_watermark_allocation_records(merge_threads=True):
            frames = [
                f"{function} ({file_of(file)}:{line})"
                for function, file, line in reversed(record.stack_trace())
            ]
            yield frames, record.size


if __name__ == "__main__":
    sys.stdout.write(text(folded(stacks_of(sys.argv[1]))))
