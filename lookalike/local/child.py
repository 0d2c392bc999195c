"""Starts one child of `lookalike up`: `python -m lookalike.local.child PARENT_PID PROGRAM [ARGUMENT...]`.

It ties the child's life to its parent's, then becomes PROGRAM. It is a program of its own, because code between fork and exec
in a process with threads may deadlock. It imports the standard library only, since it runs before every part.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""


def main(arguments: Sequence[str]) -> None:
    """Become `arguments[1:]`, to be killed by the kernel when `arguments[0]`, the parent's process id, dies (Linux only)."""
    parent_pid, *argv = arguments
    if sys.platform == "linux":
        # SIGKILL, because a parent that has died cannot wait for an orderly end.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent_pid):
        raise SystemExit("the parent ended before its child began")
    # A shell starts background jobs with SIGINT ignored, and Python leaves it so: some parts are stopped by it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(argv[0], argv)  # noqa: S606 - the very purpose


if __name__ == "__main__":
    main(sys.argv[1:])
