"""What the engine tells whoever watches it; nothing here depends on who does.

Receivers run in the worker's event loop: they must not wait, and must not raise.
"""

from __future__ import annotations

from django.dispatch import Signal

# A worker is ready: `worker` (Worker), `pipeline` (Pipeline) and `pool` (asyncpg's).
worker_started = Signal()

# It claims nothing more and has committed what it had: `worker`.
worker_stopped = Signal()

# An attempt has ended: `outcome` (Outcome), None when it was abandoned; `claim` (Claim).
attempt_ended = Signal()
