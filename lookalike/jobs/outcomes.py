"""Items of a job that failed: one Parquet file in the artifacts per chunk that has any, read a page at a time.

A worker writes its chunk's file before it records the chunk. The file's name holds the lease's owner, and the ledger names the
file of the one whose record counted: what is listed is what was counted, even where two workers did one chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.artifacts import Artifacts
from lookalike.errors import Internal, InvalidArgument, NotFound
from lookalike.jobs.ledger import Ledger
from lookalike.names import MAX_PAGE_SIZE

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("uri", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("position", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that failed: `reason` UPPER_SNAKE, `message` one line, `position` in the source from 0."""

    id: str
    uri: str
    reason: str
    message: str
    position: int


class Outcomes:
    """Writes and reads the failures of jobs. Thread-safe."""

    def __init__(self, ledger: Ledger, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._ledger = ledger

    def write_failures(self, job_id: str, chunk: int, owner: str, failures: Sequence[Failure]) -> None:
        """Write down the failures of a chunk, before it is recorded."""
        columns = {field.name: [getattr(failure, field.name) for failure in failures] for field in fields(Failure)}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="zstd")
        self._artifacts.write(_path(job_id, str(chunk), owner), sink.getvalue().to_pybytes())

    def page_failures(self, job_id: str, page_size: int, page_token: str) -> tuple[list[Failure], str]:
        """Failures recorded so far, in order of position: at most `page_size` (1 to 1,000), and the token of the next page.

        Raises `NotFound` ("ingest job"), `InvalidArgument` (page size, page token), `Unavailable`.
        """
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidArgument("page_size", f"{page_size} is out of range; 1 to {MAX_PAGE_SIZE} are allowed")
        chunk, offset = _parse(page_token)
        self._ledger.get(job_id)
        failures: list[Failure] = []
        while True:
            entry = self._next_entry(job_id, chunk)
            if entry is None:
                return failures, ""
            if len(failures) == page_size:
                return failures, f"{entry[0]}:{offset if entry[0] == chunk else 0}"
            found, owner = entry
            offset = offset if found == chunk else 0
            read = self._read(job_id, found, owner)
            taken = read[offset : offset + page_size - len(failures)]
            failures += taken
            chunk, offset = (found, offset + len(taken)) if offset + len(taken) < len(read) else (found + 1, 0)

    def _next_entry(self, job_id: str, chunk: int) -> tuple[int, str] | None:
        with self._ledger.connection.commands() as client:
            entries = client.zrangebyscore(f"lookalike:job:{job_id}:failures", chunk, "+inf", 0, 1)
        if not entries:
            return None
        number, owner, _ = entries[0].split(":")
        return int(number), owner

    def _read(self, job_id: str, chunk: int, owner: str) -> list[Failure]:
        path = _path(job_id, str(chunk), owner)
        try:
            with self._artifacts.open_read(path) as stream:
                rows = pq.read_table(stream, schema=_SCHEMA).to_pylist()
        except NotFound as error:
            raise Internal(f"the failures of chunk {chunk} of ingest job {job_id} are gone from the artifacts") from error
        except (pa.ArrowException, OSError) as error:
            raise Internal(f"the failures of chunk {chunk} of ingest job {job_id} are damaged") from error
        return [Failure(**row) for row in rows]


def _path(job_id: str, chunk: str, owner: str) -> str:
    return f"jobs/{job_id}/failures/{int(chunk):07d}-{owner}.parquet"


def _parse(page_token: str) -> tuple[int, int]:
    if not page_token:
        return 0, 0
    chunk, _, offset = page_token.partition(":")
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in (chunk, offset)):
        raise InvalidArgument("page_token", "is not one that a page before gave")
    return int(chunk), int(offset)
