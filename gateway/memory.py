"""How the process keeps its memory, so that neither Python's collector nor the kernel holds up the event loop. Called by
`__main__`."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

from lookalike.names import MAX_MESSAGE_BYTES

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt(3)`."""


def settle() -> None:
    """Call this once all modules are loaded and before the first request.

    Python's collector looks through all objects now and then and holds the interpreter's lock meanwhile. The modules alone take
    .27 s and stay for good, so the collector leaves them out from here on.
    """
    gc.collect()
    gc.freeze()
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep the memory of the largest message when it is freed, up to two of them.

    glibc gives a block of more than 32 MiB back to the kernel, and the pages of the next one are new. gRPC copies a message
    twice on the loop: with new pages 32 MiB take 42 ms of processor time, with kept ones 7 ms. Another C library stays as it
    is.
    """
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2 * MAX_MESSAGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 4 * MAX_MESSAGE_BYTES)
