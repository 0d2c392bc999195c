"""Whether the artifacts can be written: a full disk, a read-only volume or a key that lost its rights shows before a job does.

Called by the readiness of gateway and indexer, every few seconds.
"""

from __future__ import annotations

import secrets
import time

from lookalike.artifacts import Artifacts
from lookalike.errors import Unavailable

FOLDER = "checks"
WRITE_EVERY_S = 15.0
"""The time between two writes after a successful one: on an object store each is a paid request."""


class ArtifactCheck:
    """The check. Call it from one thread at a time."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._write_at_s = 0.0
        self._seen = False

    def __call__(self) -> None:
        """Raise `Unavailable`, or `FailedPrecondition` for a place that cannot be written to."""
        if self._seen and not self._artifacts.is_there():
            # Writing would make it anew, on whatever disk is below: what is written there nobody else sees.
            raise Unavailable("artifacts", "its folder has gone; is the volume mounted?")
        if time.monotonic() < self._write_at_s:
            self._artifacts.exists(FOLDER)
            return
        self._write_at_s = 0.0
        path = f"{FOLDER}/{secrets.token_hex(8)}"
        self._artifacts.write(path, b"1", durable=False)
        self._artifacts.delete(path)
        self._seen = True
        self._write_at_s = time.monotonic() + WRITE_EVERY_S
