"""Turns a job's source into its manifest: the items in order, ids final and unique, chunk n = row group n.

Called by `worker` with the plan's lease. Streams: neither the items nor their ids are held in memory. A plan that dies leaves
nothing behind that anybody reads, and is done again from the start.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from indexer.interruption import Interruption
from lookalike.artifacts import Artifacts
from lookalike.errors import FailedPrecondition, Unavailable
from lookalike.items import Item
from lookalike.jobs.job import Job
from lookalike.jobs.manifest import ManifestWriter
from lookalike.sources.web import SOURCE_UNAVAILABLE

SOURCE_EMPTY = "SOURCE_EMPTY"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a source holds: `manifest` is its path in the artifacts; `submitted` counts duplicates too."""

    manifest: str
    submitted: int
    duplicates: int
    chunks: int


_PROGRESS_EVERY = 4096
"""Items between two words about how far the plan is: a fraction of a second."""


_LISTED = frozenset({"folder", "manifest", "archive", "upload"})
"""Kinds of sources that people name. One without any items is a mistake of theirs."""


def make_plan(
    artifacts: Artifacts,
    job: Job,
    items: Iterator[Item],
    interruption: Interruption,
    progress: Callable[[int], None] = lambda submitted: None,
) -> Plan:
    """Write the manifest of `job`, whose source holds `items`. Of equal ids the first that can be used wins. `progress` hears
    how many came so far.

    Raises what `items` raises, `FailedPrecondition` SOURCE_EMPTY, `Unavailable` where the artifacts do not answer, `Draining`,
    `LeaseLost`. Nothing is left behind then.
    """
    # Named for the lease: a planner that lost its lease cannot write over the manifest that the chunks are counted by.
    path = f"{_folder(job.id)}/manifest-{interruption.lease.owner}.parquet"
    writer = ManifestWriter(artifacts, path)
    submitted = duplicates = 0
    try:
        with _SeenIds() as seen:
            for item in items:
                interruption.check()
                submitted += 1
                if submitted % _PROGRESS_EVERY == 0:
                    progress(submitted)
                if not item.problem and not seen.add(item.id):
                    duplicates += 1
                else:
                    writer.add(item)
        if not submitted and job.source.kind in _LISTED:
            raise FailedPrecondition(f"{job.source.uri[:200]!r} holds nothing to ingest", reason=SOURCE_EMPTY)
        artifacts.settle()  # What was copied out of archives is durable before the manifest names it.
        writer.commit()
    except Unavailable as error:
        writer.discard()
        if error.reason != SOURCE_UNAVAILABLE:
            raise
        # It was asked again and again: a person has to see to it.
        raise FailedPrecondition(error.message, reason=error.reason) from error
    except BaseException:
        writer.discard()
        raise
    return Plan(path, submitted, duplicates, writer.chunks)


def delete_other_plans(artifacts: Artifacts, job_id: str, manifest: str) -> None:
    """Delete what planners that lost their lease have finished all the same."""
    for name in artifacts.names(_folder(job_id)):
        path = f"{_folder(job_id)}/{name}"
        if name.startswith("manifest-") and path != manifest:
            artifacts.delete(path)


def _folder(job_id: str) -> str:
    return f"jobs/{job_id}"


class _SeenIds:
    """Which ids came already, in a file that goes away: 16 bytes of hash each, so that ten million need no memory."""

    _CACHE_KIB = 16 * 1024
    _COMMIT_EVERY = 100_000

    def __enter__(self) -> _SeenIds:
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="lookalike-plan-")
        except OSError as error:
            raise _no_room(error) from error
        try:
            self._open()
        except sqlite3.Error as error:
            self._folder.cleanup()
            raise _no_room(error) from error
        return self

    def _open(self) -> None:
        self._ids = sqlite3.connect(Path(self._folder.name) / "ids.sqlite", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{self._CACHE_KIB}", "locking_mode=EXCLUSIVE"):
            self._ids.execute(f"PRAGMA {pragma}")
        self._ids.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
        self._ids.execute("BEGIN")
        self._added = 0

    def add(self, item_id: str) -> bool:
        """Whether this id is new."""
        key = hashlib.blake2b(item_id.encode(), digest_size=16).digest()
        try:
            new = self._ids.execute("INSERT OR IGNORE INTO ids VALUES (?)", (key,)).rowcount == 1
            self._added += new
            if new and self._added % self._COMMIT_EVERY == 0:
                self._ids.execute("COMMIT")
                self._ids.execute("BEGIN")
        except sqlite3.Error as error:
            raise _no_room(error) from error
        return new

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._ids.close()
        self._folder.cleanup()


def _no_room(error: Exception) -> Unavailable:
    """A temporary folder that is full, or not there: another worker's may do."""
    return Unavailable("temporary folder", " ".join(str(error).split())[:200])
