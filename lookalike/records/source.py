"""The sources of ingest jobs, a frozen record for each kind, and the items of uploads.

The client names a source by these records, the contract carries them, and the ledger keeps them as JSON (`jobs.stored_job`).
Every source has a `kind`, the contract's word for it, and a `place`: the path, URI or id that names it, which is its first
field. The contract's message of that kind has fields of the same names.

A new source is a record here, a member of `Source`, and a lister in `indexer.planning.sources`; the client exports the record.
A source that needs more than its place to be refused has its check in `jobs.creation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, get_args


@dataclass(frozen=True, slots=True)
class UploadItem:
    """One image to upload: its encoded bytes or the `Path` of its file (at most 20 MB, else it fails alone), or a `uri` that
    the workers can read, or the `problem` that kept the caller from reading it. An item with a problem counts as failed, with
    this text and `problem_reason` (UPPER_SNAKE, by default `CLIENT_PROBLEM`). An item whose `Path` cannot be read fails alone
    too. Without an `id` the server derives one. An item that arrives at the server never holds a `Path`."""

    id: str = ""
    uri: str = ""
    content: bytes | Path = field(default=b"", repr=False)
    metadata: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""
    problem_reason: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """A complete upload, which a job's source can name: `items` received, `size_bytes` of content."""

    id: str
    items: int
    size_bytes: int


class _Placed:
    __slots__ = ()

    @property
    def place(self) -> str:
        """The field that names the source: its first one."""
        return str(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]  # every source is a dataclass


@dataclass(frozen=True, slots=True)
class FolderSource(_Placed):
    """A folder of pictures inside the workers' configured roots, or a prefix such as `s3://bucket/photos/`. With
    `labels_from_folders`, the name of a sub-folder is the `label`. `exclude` are globs of files to leave out: see `ingest
    --help`. With `include_hidden`, hidden files, and those that systems leave behind, are not skipped."""

    uri: str
    labels_from_folders: bool = False
    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    kind: ClassVar[str] = "folder"


@dataclass(frozen=True, slots=True)
class ManifestSource(_Placed):
    """A list of pictures inside the workers' configured roots: CSV, JSONL, Parquet, or a text file with one URI a line."""

    uri: str
    kind: ClassVar[str] = "manifest"


@dataclass(frozen=True, slots=True)
class ArchiveSource(_Placed):
    """Pictures in tar files inside the workers' configured roots, such as WebDataset's shards: a `.tar`, `.tar.gz` or `.tgz`
    file, or a folder or prefix of them. `exclude` and `include_hidden` as of `FolderSource`."""

    uri: str
    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    kind: ClassVar[str] = "archive"


@dataclass(frozen=True, slots=True)
class UploadSource(_Placed):
    """Items that `Client.upload` has sent."""

    upload_id: str
    kind: ClassVar[str] = "upload"


@dataclass(frozen=True, slots=True)
class FailuresSource(_Placed):
    """The failed items of job `job_id`. The source of jobs that `Client.retry_failures` makes."""

    job_id: str
    kind: ClassVar[str] = "failures"


@dataclass(frozen=True, slots=True)
class CollectionSource(_Placed):
    """The images of the job's collection: the source of a job that re-embeds the collection into `generation`."""

    generation: int
    kind: ClassVar[str] = "collection"


Source = FolderSource | ManifestSource | ArchiveSource | UploadSource
"""The sources that a caller can name."""
JobSource = Source | FailuresSource | CollectionSource
"""The sources of all jobs: those that a caller can name, and those of a retry and of a re-embedding."""
SOURCES: Mapping[str, type[Any]] = MappingProxyType({source.kind: source for source in get_args(JobSource)})
"""The records of sources by kind."""


def any_of(names: Iterable[str]) -> str:
    """`a folder, a manifest or an upload`."""
    *others, last = (f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}" for name in names)
    return f"{', '.join(others)} or {last}"
