"""What is cached of the console's data: for a moment, so that those who ask often cost little."""

from __future__ import annotations

from cachelayer.policy import Policy
from cachelayer.tiered import TieredCache

LIVE = TieredCache("performance", Policy(ttl=2, local_ttl=1, stale_for=0))
