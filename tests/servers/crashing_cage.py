"""`python -m tests.servers.crashing_cage`: a caged process that does what the last word of a picture says, or decodes it.

For tests of what becomes of crashes: no file is known that crashes the decoders of today.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

from embedder.pictures.caged import decoded, serve
from embedder.pictures.sandbox import Sandbox

CRASH, KILLED, BURN, EAT, LIE, SLEEP, BABBLE, SPIN = (
    b"crash", b"killed", b"burn", b"eat", b"lie", b"sleep", b"babble", b"spin",
)  # fmt: skip


def misbehaving(task: dict[str, Any], data: bytes, sandbox: Sandbox) -> tuple[dict[str, Any], bytes]:
    if data.endswith(CRASH):
        signal.raise_signal(signal.SIGSEGV)
    if data.endswith(KILLED):
        signal.raise_signal(signal.SIGKILL)
    if data.endswith(BURN):
        with sandbox.limits(task["memory_bytes"], task["processor_s"]):
            while True:
                pass
    if data.endswith(EAT):
        task["memory_bytes"] = 1_000_000
    if data.endswith(LIE):
        return {"shapes": [[1, 1, 3], [1, 1, 3]]}, bytes(6)
    if data.endswith(BABBLE):
        return {"reason": "rm -rf", "problem": "\n"}, b""
    if data.endswith(SPIN):
        while True:
            pass
    if data.endswith(SLEEP):
        threading.Event().wait()
    return decoded(task, data, sandbox)


if __name__ == "__main__":
    serve(misbehaving)
