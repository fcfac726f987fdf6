"""What the engine tells whoever watches it; nothing here depends on who does.

Receivers run where it happens, for the most part in the worker's event loop: they must not wait,
and must not raise.
"""

from __future__ import annotations

from django.dispatch import Signal

# A worker is about to start and does nothing yet: receivers may still import what they need.
worker_starting = Signal()

# A worker is ready: `worker` (Worker) and `pipeline` (Pipeline).
worker_started = Signal()

# It claims nothing more and has committed what it had: `worker`.
worker_stopped = Signal()

# A request has waited for `seconds` because its client wants to hear when a job ends.
client_waited = Signal()

# An attempt has ended, and that is stored: `claim` (Claim), `outcome` (Outcome), None when it was
# abandoned or came too late. Up to a thousand a second: a receiver has microseconds.
attempt_ended = Signal(use_caching=True)

# A duty of the fleet is begun or has ended in this thread: `duty` (its name).
duty_began = Signal()
duty_ended = Signal()
