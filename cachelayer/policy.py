"""How long values live, and where."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cachelayer.codec import Entry

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Policy:
    """How long values live; times are seconds.

    A value is fresh for `ttl`, and may be served for `stale_for` more while one caller loads it
    anew. With `refresh_ahead`, a part of `ttl`, that begins so long before its end. A loader's None
    is kept for `negative_ttl`, and not at all when that is 0. Level 1 keeps a value for at most
    `local_ttl` (by default what the layer allows); `remote=False` keeps it out of level 2.
    """

    ttl: float
    stale_for: float = 0.0
    refresh_ahead: float = 0.0
    negative_ttl: float = 0.0
    local_ttl: float | None = None
    remote: bool = True

    def entry(self, value: Any, *, jitter: float) -> Entry | None:
        """The value's entry from now on, if it is to be kept; it lives up to `jitter` shorter.

        `jitter` is a part of the lifetime.
        """
        missing = value is None
        lifetime = self.negative_ttl if missing else self.ttl
        if lifetime <= 0:
            return None
        now = time.time()
        fresh_until = now + lifetime * (1 - random.uniform(0, jitter))
        expires = fresh_until if missing else fresh_until + self.stale_for
        return Entry(value, now, fresh_until, expires, missing)


class Policies:
    """The policy of each value of a namespace: one for all, or one that depends on the value."""

    def __init__(self, policy: Policy | Callable[[Any], Policy]) -> None:
        """`policy`, or what gives a value's."""
        if callable(policy):
            self.of, self.may_use_remote, self._ahead = policy, True, 0.0
        else:
            self.of = lambda _value: policy
            self.may_use_remote, self._ahead = policy.remote, policy.refresh_ahead

    def is_due(self, entry: Entry, now: float) -> bool:
        """Whether the entry should be loaded anew, though it may still be served.

        Not ahead of its end where there is nothing, or where the policy depends on the value.
        """
        ahead = 0.0 if entry.missing else self._ahead
        return now >= entry.fresh_until - ahead * (entry.fresh_until - entry.created)
