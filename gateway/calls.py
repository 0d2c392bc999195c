"""How long a call to the gateway may take, by gRPC and by HTTP. Used by both, and by work that has no caller of its own."""

from __future__ import annotations

DEFAULT_S = 10.0
"""The deadline of callers that set none: far above any healthy answer, short enough that no caller waits in vain for long."""
MAX_S = 60.0
"""The longest deadline: no request holds a thread or a place in a queue for longer, whatever its caller asks for."""
