"""How long a call to the gateway may take, whichever edge it comes in at. Used by `grpc` and `http`, and by work that has no
caller of its own."""

from __future__ import annotations

DEFAULT_S = 10.0
"""For callers that set no deadline: far above any healthy answer, short enough that nobody waits in vain for long."""
MAX_S = 60.0
"""No request holds a thread or a place in a queue for longer, whatever its caller says."""
