"""One sweep: mark what is needed, then remove the other originals, thumbnails and lists of uploads.

Nothing is removed that is younger than `UNUSED_KEPT_S`: an upload under way is listed nowhere, but its files are young, and
keeping an old original again makes it young (`Artifacts.keep_original`). A killed sweep has done no harm; the next one begins
anew.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from prometheus_client import Counter as Metric

from indexer.sweeping.roots import Roots
from lookalike.artifacts import ORIGINALS, THUMBNAILS, UNUSED_KEPT_S, Artifacts
from lookalike.errors import Unavailable
from lookalike.jobs.uploads import UPLOADS, Uploads

SWEPT = Metric("lookalike_indexer_swept_files_total", "Files removed because nothing needs them any more.", ("kind",))
_SHA256 = re.compile(r"([0-9a-f]{64})(?:\.jpg)?")
_CLOCKS_S = 300.0
"""The difference between the clocks of a store and of a worker, at most."""
_BITS = 1 << 28
"""Bits of the filter, 32 MiB: with 10 million pictures marked .04 % of all others look marked too, with 100 million 36 %."""
_HASHES = 4


class Marks:
    """A set of SHA-256 (64 hex digits) in memory that does not grow. It misses none of its own, and some others seem to belong
    to it: those are kept until the next sweep, which has other hashes (Bloom, "Space/time trade-offs in hash coding with
    allowable errors", 1970)."""

    def __init__(self) -> None:
        self._bits = np.zeros(_BITS // 8, np.uint8)
        self._key = secrets.token_bytes(16)

    def add(self, sha256: str) -> None:
        for byte, bit in self._places(sha256):
            self._bits[byte] |= bit

    def __contains__(self, sha256: str) -> bool:
        return all(self._bits[byte] & bit for byte, bit in self._places(sha256))

    def _places(self, sha256: str) -> list[tuple[int, int]]:
        digest = hashlib.blake2b(sha256.encode(), key=self._key, digest_size=8 * _HASHES).digest()
        places = (int.from_bytes(digest[start : start + 8], "big") % _BITS for start in range(0, len(digest), 8))
        return [(place >> 3, 1 << (place & 7)) for place in places]


@dataclass(frozen=True, slots=True)
class Swept:
    """How many files were removed, by kind, and whether some were kept only because they are too young yet."""

    removed: Counter[str]
    some_too_young: bool


class Sweep:
    """One sweep. `go_on` is asked all the while: False ends the sweep with `Unavailable`."""

    def __init__(
        self,
        artifacts: Artifacts,
        uploads: Uploads,
        roots: Roots,
        go_on: Callable[[], bool] = lambda: True,
        *,
        kept_s: float = UNUSED_KEPT_S,
    ) -> None:
        self._artifacts, self._uploads, self._roots, self._go_on = artifacts, uploads, roots, go_on
        self._began = datetime.now(UTC)
        self._old = self._began - timedelta(seconds=kept_s)
        self._marks = Marks()
        self._removed: Counter[str] = Counter()
        self._some_too_young = False

    def run(self) -> Swept:
        """Raises what reading the store, the ledger or the artifacts raises; nothing has been removed wrongly then."""
        self._sweep_uploads()
        for sha256s in (self._roots.of_jobs(), self._roots.of_rows()):
            for sha256 in sha256s:
                self._marks.add(sha256)
                self._check()
        self._sweep_folder(ORIGINALS, self._old)
        # A thumbnail that is needed after all is made again.
        self._sweep_folder(THUMBNAILS, self._began - timedelta(seconds=_CLOCKS_S))
        return Swept(self._removed, self._some_too_young)

    def _sweep_uploads(self) -> None:
        """Remove the lists that no job will read, at once where their collection is gone; mark what the others name."""
        needed, uids = self._roots.needed_uploads(), self._roots.uids()
        for entry in self._artifacts.entries(UPLOADS):
            upload_id = entry.name
            old = (self._uploads.finished_at(upload_id) or entry.modified) < self._old
            if upload_id not in needed and (old or self._uploads.collection_of(upload_id) not in {*uids, None}):
                self._uploads.delete(upload_id)
                self._count("upload")
                continue
            self._some_too_young = True
            for sha256 in self._roots.of_upload(upload_id):
                self._marks.add(sha256)
                self._check()

    def _sweep_folder(self, folder: str, old: datetime) -> None:
        for shard in self._artifacts.names(folder):
            for entry in self._artifacts.entries(f"{folder}/{shard}"):
                self._check()
                if self._is_needed(entry.name):
                    continue
                if entry.modified >= old:
                    self._some_too_young = True
                elif self._artifacts.delete_unless_newer(f"{folder}/{shard}/{entry.name}", old):
                    self._count(folder.rstrip("s"))

    def _is_needed(self, name: str) -> bool:
        sha256 = _SHA256.fullmatch(name)
        # A file with another name is a part that a killed writer has left.
        return sha256 is not None and sha256[1] in self._marks

    def _count(self, kind: str) -> None:
        self._removed[kind] += 1
        SWEPT.labels(kind).inc()

    def _check(self) -> None:
        if not self._go_on():
            raise Unavailable("sweep", "it has been stopped")
