"""This process's pools of asyncpg, for whoever watches them; it imports no driver."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cachelayer.pools.lending import Lending

if TYPE_CHECKING:
    import asyncpg

# By name the one that was made last; it may be closed by now.
pools: dict[str, asyncpg.Pool] = {}
# How many connections the pools of each name have opened so far.
opened: Counter[str] = Counter()
# What they lend by hand.
lending = Lending()
