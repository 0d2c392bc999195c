"""The items of a job's source, guarded, in order. Called by `worker`.

URIs are named as the caller named the source, links in it not resolved. The pictures of a compressed archive are copied into
the artifacts' originals, as an upload's are: a single one could not be read later without reading all before it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import IO, Any, ClassVar

from indexer.interruption import Interruption
from lookalike.artifacts import Artifacts
from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.items import INCOMPLETE_REASONS, SOURCE_INCOMPLETE, Item, broken_item
from lookalike.jobs.leases import Lease
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.manifest import read_chunk
from lookalike.jobs.outcomes import Outcomes
from lookalike.jobs.uploads import Uploads
from lookalike.listing import Choice, list_archive, list_manifest
from lookalike.listing.tars import ARCHIVE_SUFFIXES, is_archive, is_compressed, plain_stream
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.records.job import Job
from lookalike.records.source import (
    ArchiveSource,
    CollectionSource,
    FailuresSource,
    FolderSource,
    JobSource,
    ManifestSource,
    UploadSource,
)
from lookalike.sources import Reader
from lookalike.sources.opening import check_listable, folder_items, open_source, uris_under
from lookalike.sources.urls import Url


@dataclass(frozen=True, slots=True)
class Sources:
    """Lists the items of jobs. `stored` lists the images that a job re-embeds (`Generations.items`)."""

    reader: Reader
    uploads: Uploads
    ledger: Ledger
    outcomes: Outcomes
    stored: Callable[[Job, Lease], Iterator[Item]]

    def items(self, job: Job, interruption: Interruption) -> Iterator[Item]:
        """The items of the source of `job`.

        Raises, at once or while they are listed, `NotFound`, `InvalidArgument` or `FailedPrecondition` for a source that cannot
        be read at all, `Unavailable`, `Draining`, `LeaseLost`.
        """
        return self._LISTERS[type(job.source)](self, job.source, job, interruption)

    def _folder(self, source: FolderSource, job: Job, interruption: Interruption) -> Iterator[Item]:
        roots, buckets, labels = self.reader.roots, self.reader.buckets, source.labels_from_folders
        choice = Choice(source.exclude, source.include_hidden)
        return folder_items(roots, buckets, source.uri, labels_from_folders=labels, choice=choice)

    def _manifest(self, source: ManifestSource, job: Job, interruption: Interruption) -> Iterator[Item]:
        uri = source.uri
        real, named = self.reader.roots.resolve(uri), check_listable(self.reader.roots, uri)
        if not isinstance(real, Url) and not isinstance(named, Url):
            yield from list_manifest(real, named.name, named.parent.as_uri(), check=interruption.check)
            return
        folder, name = posixpath.split(str(named))
        with open_source(self.reader.roots, self.reader.buckets, uri) as stream:
            yield from list_manifest(stream, name, folder, check=interruption.check)

    def _archives(self, source: ArchiveSource, job: Job, interruption: Interruption) -> Iterator[Item]:
        position, uri, choice = 0, source.uri, Choice(source.exclude, source.include_hidden)
        place = check_listable(self.reader.roots, uri)
        alone = is_archive(place.key) if isinstance(place, Url) else not place.is_dir()
        for found in uris_under(self.reader.roots, self.reader.buckets, uri, is_archive, choice):
            if isinstance(found, Item):
                yield replace(found, position=position)
                position += 1
                continue
            try:
                for item in self._archive(found, position, choice, interruption):
                    yield item
                    position += 1
            except (NotFound, InvalidArgument, FailedPrecondition) as error:
                if alone:
                    raise
                reason = error.reason if error.reason in INCOMPLETE_REASONS else SOURCE_INCOMPLETE
                yield broken_item(position, error.message, uri=found, reason=reason)
                position += 1

    def _archive(self, uri: str, start: int, choice: Choice, interruption: Interruption) -> Iterator[Item]:
        name = posixpath.basename(uri)
        if not is_archive(name):
            raise InvalidArgument("archive", f"{name} must be named {', '.join(ARCHIVE_SUFFIXES)}", reason="ARCHIVE_INVALID")
        with open_source(self.reader.roots, self.reader.buckets, uri) as packed:
            stream = plain_stream(packed, name, interruption.check)
            for item in list_archive(stream, name, uri, start=start, check=interruption.check, choice=choice):
                yield _kept(self.reader.artifacts, stream, item) if is_compressed(name) and not item.problem else item

    def _upload(self, source: UploadSource, job: Job, interruption: Interruption) -> Iterator[Item]:
        return self.uploads.items(source.upload_id)

    def _failures(self, source: FailuresSource, job: Job, interruption: Interruption) -> Iterator[Item]:
        return failed_items(self.ledger, self.outcomes, self.reader.artifacts, source.job_id)

    def _collection(self, source: CollectionSource, job: Job, interruption: Interruption) -> Iterator[Item]:
        return self.stored(job, interruption.lease)

    _LISTERS: ClassVar[Mapping[type[JobSource | None], Callable[[Sources, Any, Job, Interruption], Iterator[Item]]]] = {
        FolderSource: _folder,
        ManifestSource: _manifest,
        ArchiveSource: _archives,
        UploadSource: _upload,
        FailuresSource: _failures,
        CollectionSource: _collection,
    }
    """The lister of each source, by its record."""


def failed_items(ledger: Ledger, outcomes: Outcomes, artifacts: Artifacts, job_id: str) -> Iterator[Item]:
    """The items that failed, in order, as they stand in that job's manifest: with its positions and the source's own problems.

    Raises `NotFound` ("ingest job") for a job that is no longer kept, or that goes while it is read; `Internal` where its
    files are damaged, `Unavailable`.
    """
    job = ledger.get(job_id)
    left = job.counts.failed
    for chunk, failures in outcomes.failures_by_chunk(job_id):
        positions = {failure.position for failure in failures}
        for item in read_chunk(artifacts, job.manifest, chunk):
            if item.position in positions:
                left -= 1
                yield item
    if left:
        raise NotFound("ingest job", job_id, hint="it is no longer kept, so what failed in it is not known any more")


def _kept(artifacts: Artifacts, stream: IO[bytes], item: Item) -> Item:
    """The item with its picture kept among the originals, since its archive is compressed."""
    if item.size_bytes > MAX_IMAGE_BYTES:
        problem = f"is {item.size_bytes} bytes long; at most {MAX_IMAGE_BYTES} are allowed"
        return broken_item(item.position, problem, uri=item.uri, item_id=item.id, reason="IMAGE_TOO_LARGE")
    stream.seek(item.offset)
    content = stream.read(item.size_bytes)
    if not content:
        return broken_item(item.position, "is empty", uri=item.uri, item_id=item.id, reason="IMAGE_EMPTY")
    return replace(item, uri=artifacts.keep_original(content), origin=item.uri, offset=-1, size_bytes=0)
