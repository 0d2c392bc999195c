"""The outcomes of the items of a job: one Parquet file per chunk in the artifacts. Failures are read a page at a time.

A worker writes its chunk's file before it records the chunk. The file's name holds the lease's owner, and the ledger names the
owner whose record counted. So the list shows the counted outcomes, also where two workers did one chunk.

Columns: position int64, id, uri, outcome (`indexed`, `skipped` or `failed`), reason, message: text, time: UTC, when the chunk
was done. Duplicates within a source are in no chunk, so in no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.artifacts import Artifacts
from lookalike.errors import Internal, InvalidArgument, NotFound
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.stored_job import CHUNKS_TOGETHER
from lookalike.names import check_page_size
from lookalike.records.job import Failure

_TEXT = ("id", "uri", "outcome", "reason", "message")
_SCHEMA = pa.schema(
    [("position", pa.int64()), *((name, pa.string()) for name in _TEXT), ("time", pa.timestamp("ms", tz="UTC"))]
)
_BUCKETS_AT_ONCE = 64
"""Bounds the groups of recorded chunks that are read from Redis at a time: 6,400 chunks, some 200 KB."""


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """The outcome of an item. `reason` and `message` are empty for an indexed item; a skipped item has a reason only."""

    position: int
    id: str
    uri: str
    outcome: Literal["indexed", "skipped", "failed"]
    reason: str = ""
    message: str = ""


class Outcomes:
    """Writes and reads outcomes of items. Thread-safe."""

    def __init__(self, ledger: Ledger, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._ledger = ledger

    def write(self, job_id: str, chunk: int, owner: str, outcomes: Sequence[ItemOutcome]) -> None:
        """Write the outcomes of a chunk's items, before the chunk is recorded."""
        columns = {field.name: [getattr(one, field.name) for one in outcomes] for field in fields(ItemOutcome)}
        columns["time"] = [datetime.now(UTC)] * len(outcomes)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="zstd", write_statistics=False)
        self._artifacts.write(_path(job_id, chunk, owner), sink.getvalue().to_pybytes())

    def page_failures(self, job_id: str, page_size: int, page_token: str) -> tuple[list[Failure], str]:
        """Failures recorded so far, in order of position: at most `page_size` (1 to 1,000), and the token of the next page.

        Raises `NotFound` ("ingest job"), `InvalidArgument` (page size, page token), `Unavailable`.
        """
        check_page_size(page_size)
        first, offset = _parse(page_token)
        failures: list[Failure] = []
        for chunk, owner in self._failed_chunks(job_id, first):
            start = offset if chunk == first else 0
            if len(failures) == page_size:
                return failures, f"{chunk}:{start}"
            read = self._read_failures(job_id, chunk, owner)
            taken = read[start : start + page_size - len(failures)]
            failures += taken
            if start + len(taken) < len(read):
                return failures, f"{chunk}:{start + len(taken)}"
        return failures, ""

    def failures_by_chunk(self, job_id: str) -> Iterator[tuple[int, list[Failure]]]:
        """Every chunk with recorded failures, in order, with its failures. Raises `NotFound` ("ingest job"), `Unavailable`."""
        for chunk, owner in self._failed_chunks(job_id, 0):
            yield chunk, self._read_failures(job_id, chunk, owner)

    def _failed_chunks(self, job_id: str, first: int) -> Iterator[tuple[int, str]]:
        """Chunks from `first` on with failures, each with the owner whose file counts."""
        job = self._ledger.get(job_id)
        if not job.counts.failed:
            return
        bucket, end = first // CHUNKS_TOGETHER, -(-job.chunks_total // CHUNKS_TOGETHER)
        at_once = 1  # A page needs few groups; a whole job, or a job with few failures, needs many.
        while bucket < end:
            with self._ledger.connection.commands() as client, client.pipeline(transaction=False) as pipeline:
                for number in range(bucket, min(bucket + at_once, end)):
                    pipeline.hgetall(f"lookalike:job:{job_id}:recorded:{number}")
                found = pipeline.execute()
            for entries in found:
                for chunk, entry in sorted((int(chunk), entry) for chunk, entry in entries.items()):
                    owner, _, failed = entry.partition(":")
                    if chunk >= first and failed != "0":
                        yield chunk, owner
            bucket, at_once = bucket + at_once, min(2 * at_once, _BUCKETS_AT_ONCE)

    def _read_failures(self, job_id: str, chunk: int, owner: str) -> list[Failure]:
        columns = [field.name for field in fields(Failure)]
        try:
            with self._artifacts.open_read(_path(job_id, chunk, owner)) as stream:
                table = pq.read_table(stream, columns=columns, filters=[("outcome", "==", "failed")])
        except NotFound as error:
            raise Internal(f"the outcomes of chunk {chunk} of ingest job {job_id} are gone from the artifacts") from error
        except (pa.ArrowException, OSError) as error:
            raise Internal(f"the outcomes of chunk {chunk} of ingest job {job_id} are damaged") from error
        return [Failure(**row) for row in table.to_pylist()]


def _path(job_id: str, chunk: int, owner: str) -> str:
    return f"jobs/{job_id}/outcomes/{chunk:07d}-{owner}.parquet"


def _parse(page_token: str) -> tuple[int, int]:
    if not page_token:
        return 0, 0
    chunk, _, offset = page_token.partition(":")
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in (chunk, offset)):
        raise InvalidArgument("page_token", "is not one that a page before gave")
    return int(chunk), int(offset)
