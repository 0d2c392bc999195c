"""A gateway that answers from memory, on a real gRPC server with the real translation of errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from lookalike import errors
from lookalike.runtime.server import Servicer, build_server
from lookalike.v1 import (
    collection_service_pb2,
    collection_service_pb2_grpc,
    image_pb2,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from lookalike.wire.status import to_status
from lookalike.wire.values import metadata_message
from tests.messages import made

SPACES = (
    made(image_pb2.Space, name="histogram", dimension=256, metric=image_pb2.METRIC_L2, fingerprint="a" * 16,
         histogram={"bins": 256, "grid": 1}),
    made(image_pb2.Space, name="siamese", dimension=128, metric=image_pb2.METRIC_COSINE, fingerprint="b" * 16,
         model={"name": "photo"}),
)  # fmt: skip


def space_of(spec: image_pb2.SpaceSpec) -> image_pb2.Space:
    """A space as one of `SPACES`, with the name and the kind that were asked for."""
    there = SPACES[0] if spec.HasField("histogram") else SPACES[1]
    kind = {"histogram": spec.histogram} if spec.HasField("histogram") else {"model": {"name": spec.model.name or "photo"}}
    return made(
        image_pb2.Space, name=spec.name, dimension=there.dimension, metric=there.metric, fingerprint=there.fingerprint, **kind
    )


@dataclass
class FakeGateway(
    search_service_pb2_grpc.SearchServiceServicer,
    collection_service_pb2_grpc.CollectionServiceServicer,
    ingest_service_pb2_grpc.IngestServiceServicer,
):
    """`seen` holds every request; `fail` is raised by calls, once for each entry, first in first out; None lets one pass."""

    target: str = ""
    seen: list[Any] = field(default_factory=list)
    fail: list[errors.LookalikeError | None] = field(default_factory=list)
    collections: dict[str, collection_service_pb2.Collection] = field(default_factory=dict)
    images: list[image_pb2.Image] = field(default_factory=list)
    jobs: dict[str, list[ingest_service_pb2.IngestJob]] = field(default_factory=dict)
    failures: list[ingest_service_pb2.ItemFailure] = field(default_factory=list)
    short: int = 0
    hold: threading.Event = field(default_factory=threading.Event)

    def __hash__(self) -> int:
        return id(self)

    def note(self, request: Any) -> None:
        self.seen.append(request)
        if self.fail and (error := self.fail.pop(0)) is not None:
            raise error

    # CollectionService

    def CreateCollection(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        if request.name in self.collections:
            raise errors.AlreadyExists("collection", request.name)
        spaces = request.restored_spaces or [space_of(spec) for spec in request.spaces] or SPACES
        new = collection_service_pb2.Collection(name=request.name, description=request.description, generation=1, spaces=spaces)
        new.defaults.CopyFrom(request.defaults)
        new.create_time.FromSeconds(1_700_000_000)
        self.collections[request.name] = new
        return collection_service_pb2.CreateCollectionResponse(collection=new)

    def GetCollection(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        if request.name not in self.collections:
            raise errors.NotFound("collection", request.name)
        return collection_service_pb2.GetCollectionResponse(collection=self.collections[request.name])

    def ListCollections(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        return collection_service_pb2.ListCollectionsResponse(collections=self.collections.values())

    def UpdateCollection(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        found = self.collections[request.collection.name]
        request.update_mask.MergeMessage(request.collection, found, replace_message_field=True, replace_repeated_field=True)
        return collection_service_pb2.UpdateCollectionResponse(collection=found)

    def ReembedCollection(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        other = collection_service_pb2.OtherGeneration(
            generation=2, state=collection_service_pb2.OTHER_GENERATION_STATE_FILLING, spaces=SPACES
        )
        other.job_id = next(iter(self.jobs), "job-1")
        self.collections[request.name].other.CopyFrom(other)
        return collection_service_pb2.ReembedCollectionResponse(job_id=other.job_id)

    def RollbackCollection(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        found = self.collections[request.name]
        found.other.state = collection_service_pb2.OTHER_GENERATION_STATE_PREVIOUS
        found.other.drop_time.FromSeconds(1_700_100_000)
        return collection_service_pb2.RollbackCollectionResponse(collection=found)

    def DropPreviousGeneration(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        self.collections[request.name].ClearField("other")
        return collection_service_pb2.DropPreviousGenerationResponse(collection=self.collections[request.name])

    def DeleteCollection(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        if self.collections.pop(request.name, None) is None:
            raise errors.NotFound("collection", request.name)
        return collection_service_pb2.DeleteCollectionResponse()

    # SearchService

    def Search(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        fused = len(request.options.spaces) == 2
        answer = search_service_pb2.SearchResponse(ef=64, spaces=SPACES)
        answer.timing.total.FromMicroseconds(5_100)
        answer.timing.query_vectors.FromMicroseconds(2_000)
        answer.timing.nearest.FromMicroseconds(3_000)
        for rank, image in enumerate(self.images[: request.options.top_k or 5], start=1):
            hit = answer.neighbours.add(rank=rank, similarity=1.0 - rank / 10, image=image)
            if not fused:
                hit.distance = rank / 5
            for name in request.options.spaces or ("siamese",):
                hit.shares.add(space=name, distance=rank / 5, similarity=1.0 - rank / 10, share=0.5)
        return answer

    def SearchBatch(self, request, context):  # type: ignore[no-untyped-def]
        """The last query first; an image that begins with `bad` is no picture. `short` answers leave out as many queries."""
        self.note(request)
        for index in reversed(range(self.short, len(request.queries))):
            query = request.queries[index].query
            if query.image.startswith(b"bad"):
                bad = errors.BadImage("is truncated", field="query.image")
                yield search_service_pb2.SearchBatchResponse(index=index, error=to_status(bad))
                continue
            answer = search_service_pb2.SearchResponse(ef=64, spaces=SPACES)
            for rank, image in enumerate(self.images[: request.options.top_k or 5], start=1):
                hit = answer.neighbours.add(rank=rank, similarity=1.0 - rank / 10, image=image, distance=rank / 5)
                hit.shares.add(space="siamese", distance=rank / 5, similarity=1.0 - rank / 10, share=0.5)
            yield search_service_pb2.SearchBatchResponse(index=index, answer=answer)

    def GetImage(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        for image in self.images:
            if image.id == request.id:
                return search_service_pb2.GetImageResponse(image=image)
        raise errors.NotFound("image", request.id)

    def ListImages(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        if request.page_size < 0:
            raise errors.InvalidArgument("page_size", "is below 0")
        start = int(request.page_token or 0)
        page = self.images[start : start + (request.page_size or 50)]
        after = start + len(page)
        token = str(after) if after < len(self.images) else ""
        return search_service_pb2.ListImagesResponse(images=page, next_page_token=token)

    def CountImages(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        return search_service_pb2.CountImagesResponse(count=len(self.images))

    def DeleteImages(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        kept = [image for image in self.images if not (request.filter or image.id in request.ids)]
        deleted = len(self.images) - len(kept)
        if request.validate_only:
            samples = [image.id for image in self.images if image not in kept][:10]
            return search_service_pb2.DeleteImagesResponse(deleted=deleted, sample_ids=samples)
        self.images = kept
        return search_service_pb2.DeleteImagesResponse(deleted=deleted, revision=7)

    def UpdateImages(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        there = {image.id: image for image in self.images}
        for update in request.updates:
            if update.id in there:
                there[update.id].metadata.CopyFrom(update.metadata)
        missing = [update.id for update in request.updates if update.id not in there]
        updated = len(request.updates) - len(missing)
        return search_service_pb2.UpdateImagesResponse(updated=updated, missing_ids=missing, revision=8)

    def GetThumbnail(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        return search_service_pb2.GetThumbnailResponse(jpeg=b"\xff\xd8jpeg")

    # IngestService

    def UploadItems(self, request_iterator, context):  # type: ignore[no-untyped-def]
        items = [request for request in request_iterator if request.WhichOneof("part") == "item"]
        self.note(items)
        size = sum(len(request.item.content) for request in items)
        return ingest_service_pb2.UploadItemsResponse(upload_id="upload-1", items=len(items), size_bytes=size)

    def CreateIngestJob(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        job = ingest_service_pb2.IngestJob(id="job-1", collection=request.collection, source=request.source)
        job.state, job.request_id = ingest_service_pb2.INGEST_JOB_STATE_PENDING, request.request_id
        return ingest_service_pb2.CreateIngestJobResponse(job=job)

    def GetIngestJob(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        if request.id not in self.jobs:
            raise errors.NotFound("ingest job", request.id)
        return ingest_service_pb2.GetIngestJobResponse(job=self.jobs[request.id][-1])

    def ListIngestJobs(self, request, context):  # type: ignore[no-untyped-def]
        """An empty page comes first, as of a search among very many."""
        self.note(request)
        if not request.page_token:
            return ingest_service_pb2.ListIngestJobsResponse(next_page_token="1")
        return ingest_service_pb2.ListIngestJobsResponse(jobs=[history[-1] for history in self.jobs.values()])

    def WatchIngestJob(self, request, context) -> Iterator[Any]:  # type: ignore[no-untyped-def]
        self.note(request)
        if request.id not in self.jobs:
            raise errors.NotFound("ingest job", request.id)
        for job in self.jobs[request.id]:
            yield ingest_service_pb2.WatchIngestJobResponse(job=job)
        if not _ended(self.jobs[request.id][-1]):
            self.hold.wait(10)

    def CancelIngestJob(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        raise errors.FailedPrecondition(f"ingest job {request.id!r} has ended already")

    def UndoIngestJob(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        (job,) = self.jobs[request.id]
        answer = ingest_service_pb2.UndoIngestJobResponse(deleted=4, revision=9)
        if job.HasField("undo"):
            answer.deleted = 0
            answer.before.CopyFrom(job.undo)
        job.undo.deleted += answer.deleted
        job.undo.undo_time.FromSeconds(1_700_000_100)
        return answer

    def PauseIngestJob(self, request, context):  # type: ignore[no-untyped-def]
        return ingest_service_pb2.PauseIngestJobResponse(job=self._paused(request, True))

    def ResumeIngestJob(self, request, context):  # type: ignore[no-untyped-def]
        return ingest_service_pb2.ResumeIngestJobResponse(job=self._paused(request, False))

    def _paused(self, request: Any, paused: bool) -> ingest_service_pb2.IngestJob:
        self.note(request)
        if request.id not in self.jobs:
            raise errors.NotFound("ingest job", request.id)
        job = self.jobs[request.id][-1]
        job.paused = paused
        return job

    def RetryIngestFailures(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        source = ingest_service_pb2.Source(failures=ingest_service_pb2.FailuresSource(job_id=request.id))
        job = ingest_service_pb2.IngestJob(id="job-2", state=ingest_service_pb2.INGEST_JOB_STATE_PENDING, source=source)
        return ingest_service_pb2.RetryIngestFailuresResponse(job=job)

    def GetIngestReport(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        rates = [
            ingest_service_pb2.IngestRate(start_offset=Duration(seconds=n), duration=Duration(seconds=1), items=100 * n)
            for n in range(60)
        ]
        return ingest_service_pb2.GetIngestReportResponse(
            job=self.jobs[request.id][-1],
            elapsed=Duration(seconds=60, nanos=500_000_000),
            planning=Duration(nanos=500_000_000),
            items_per_s=2950,
            stage_durations={"read": Duration(seconds=10), "embed": Duration(seconds=80), "write": Duration(seconds=10)},
            rates=rates,
        )

    def ListIngestFailures(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        return ingest_service_pb2.ListIngestFailuresResponse(failures=self.failures[: request.page_size])


def an_image(name: str, **metadata: object) -> image_pb2.Image:
    """A stored image with id `name`."""
    uri = f"artifact://originals/{name}"
    image = image_pb2.Image(id=name, uri=uri, sha256="0" * 64, revision=3, metadata=metadata_message(metadata))
    image.index_time.FromSeconds(1_700_000_000)
    return image


def a_job(state: int, submitted: int = 0, indexed: int = 0, skipped: int = 0, failed: int = 0) -> ingest_service_pb2.IngestJob:
    """`job-1` in `state` with these counts."""
    counts = ingest_service_pb2.ItemCounts(submitted=submitted, indexed=indexed, skipped=skipped, failed=failed)
    job = ingest_service_pb2.IngestJob(id="job-1", collection="shoes", state=state, counts=counts)  # type: ignore[arg-type]
    job.create_time.FromSeconds(1_700_000_000)
    if _ended(job):
        job.end_time.FromSeconds(1_700_000_010)
    if skipped:
        job.skip_reasons["DUPLICATE"] = skipped
    return job


def _ended(job: ingest_service_pb2.IngestJob) -> bool:
    return job.state >= ingest_service_pb2.INGEST_JOB_STATE_CANCELLED


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    """A running fake; `target` is its address."""
    fake = FakeGateway()
    with served(fake):
        yield fake


@contextmanager
def served(fake: FakeGateway) -> Iterator[None]:
    """Run `fake` and give it its `target`."""
    server = build_server(
        [
            Servicer(search_service_pb2_grpc.add_SearchServiceServicer_to_server, fake, "lookalike.v1.SearchService"),
            Servicer(
                collection_service_pb2_grpc.add_CollectionServiceServicer_to_server, fake, "lookalike.v1.CollectionService"
            ),
            Servicer(ingest_service_pb2_grpc.add_IngestServiceServicer_to_server, fake, "lookalike.v1.IngestService"),
        ],
        address="127.0.0.1:0",
        threads=8,
        max_concurrent=32,
    )
    server.start()
    fake.target = f"127.0.0.1:{server.port}"
    yield
    fake.hold.set()
    server.stop(0)
