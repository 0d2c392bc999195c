"""What the gateway promises over gRPC beside search: images, collections, jobs, health and reflection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grpc
import pytest
from google.protobuf import timestamp_pb2
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from lookalike.runtime.channels import open_channel
from lookalike.v1 import collection_service_pb2 as collection_pb
from lookalike.v1 import image_pb2
from lookalike.v1 import ingest_service_pb2 as ingest_pb
from lookalike.v1 import search_service_pb2 as search_pb
from lookalike.wire.values import metadata_from
from tests.contract.gateway_collections import TIMEOUT_S, Stubs, fill, image_id, ingest, label, picture, refused, stubs
from tests.messages import made
from tests.servers.stack import Stack

COLLECTION = "gateway_grpc_jobs"
COUNT = 60
STRONG = search_pb.CONSISTENCY_STRONG


@pytest.fixture(scope="module")
def target(stack: Stack) -> str:
    fill(stack.target, COLLECTION, COUNT)
    return stack.target


@pytest.fixture(scope="module")
def channel(target: str) -> Iterator[grpc.Channel]:
    with open_channel(target) as channel:
        yield channel


@pytest.fixture(scope="module")
def services(channel: grpc.Channel) -> Stubs:
    return stubs(channel)


# --- images ---


def test_an_image_comes_back_with_what_was_given_and_its_vectors(services: Stubs) -> None:
    request = search_pb.GetImageRequest(
        collection=COLLECTION, id=image_id(5), view=search_pb.IMAGE_VIEW_FULL, consistency=STRONG
    )
    image = services.search.GetImage(request, timeout=TIMEOUT_S).image
    assert metadata_from(image.metadata) == {"label": label(5), "number": 5}
    assert image.uri.startswith("artifact://originals/")
    assert len(image.sha256) == 64
    assert image.revision > 0
    assert image.index_time.seconds > 1_700_000_000
    assert {vector.space: len(vector.values) for vector in image.vectors} == {"histogram": 256, "siamese": 256}


def test_the_list_gives_every_image_once_in_order_of_id(services: Stubs) -> None:
    seen, token = [], ""
    while True:
        request = search_pb.ListImagesRequest(collection=COLLECTION, page_size=17, page_token=token, consistency=STRONG)
        page = services.search.ListImages(request, timeout=TIMEOUT_S)
        seen += [image.id for image in page.images]
        token = page.next_page_token
        if not token:
            break
    assert seen == [image_id(n) for n in range(COUNT)]


def test_a_thumbnail_is_a_jpeg_and_is_the_same_the_second_time(services: Stubs) -> None:
    request = search_pb.GetThumbnailRequest(collection=COLLECTION, id=image_id(9))
    first = services.search.GetThumbnail(request, timeout=TIMEOUT_S).jpeg
    assert first[:3] == b"\xff\xd8\xff"
    assert services.search.GetThumbnail(request, timeout=TIMEOUT_S).jpeg == first


@pytest.mark.parametrize(
    ("method", "request_", "expected"),
    [
        ("GetImage", search_pb.GetImageRequest(collection=COLLECTION, id="nobody"), ("NOT_FOUND", "id", "IMAGE_NOT_FOUND")),
        ("GetImage", search_pb.GetImageRequest(collection=COLLECTION), ("INVALID_ARGUMENT", "id", "INVALID_ARGUMENT")),
        ("GetThumbnail", search_pb.GetThumbnailRequest(collection=COLLECTION, id="no"), ("NOT_FOUND", "id", "IMAGE_NOT_FOUND")),
        ("ListImages", search_pb.ListImagesRequest(collection="nowhere"), ("NOT_FOUND", "collection", "COLLECTION_NOT_FOUND")),
        (
            "ListImages",
            search_pb.ListImagesRequest(collection=COLLECTION, page_size=-1),
            ("INVALID_ARGUMENT", "page_size", "INVALID_ARGUMENT"),
        ),
        (
            "ListImages",
            search_pb.ListImagesRequest(collection=COLLECTION, page_token="rubbish"),
            ("INVALID_ARGUMENT", "page_token", "INVALID_ARGUMENT"),
        ),
        (
            "ListImages",
            search_pb.ListImagesRequest(collection=COLLECTION, filter="("),
            ("INVALID_ARGUMENT", "filter", "FILTER_INVALID"),
        ),
        ("DeleteImages", search_pb.DeleteImagesRequest(collection=COLLECTION), ("INVALID_ARGUMENT", "ids", "INVALID_ARGUMENT")),
        (
            "DeleteImages",
            search_pb.DeleteImagesRequest(collection=COLLECTION, ids=["a", ""]),
            ("INVALID_ARGUMENT", "ids[1]", "INVALID_ARGUMENT"),
        ),
    ],
)
def test_a_bad_request_for_images_is_refused_with_status_field_and_reason(
    services: Stubs, method: str, request_: Message, expected: tuple[str, str, str]
) -> None:
    assert refused(getattr(services.search, method), request_) == expected


# --- collections, jobs ---


def test_a_collection_lives_from_create_to_delete(services: Stubs) -> None:
    name = "gateway_grpc_short"
    spaces = [{"name": "histogram", "histogram": {"bins": 16, "grid": 4}}, {"name": "siamese", "model": {}}]
    request = made(collection_pb.CreateCollectionRequest, name=name, spaces=spaces)
    new = services.collections.CreateCollection(request, timeout=TIMEOUT_S).collection
    assert {space.name: space.dimension for space in new.spaces} == {"histogram": 256, "siamese": 256}
    assert refused(services.collections.CreateCollection, request) == ("ALREADY_EXISTS", None, "ALREADY_EXISTS")
    broken = picture(1)[:100]
    job = ingest(services, name, iter([("good", picture(0), {}), ("bad", broken, {}), ("good", picture(2), {})]))
    assert (job.counts.submitted, job.counts.indexed, job.counts.failed, job.counts.skipped) == (3, 1, 1, 1)
    failures = services.ingest.ListIngestFailures(ingest_pb.ListIngestFailuresRequest(id=job.id), timeout=TIMEOUT_S).failures
    assert [(failure.id, failure.reason, failure.position) for failure in failures] == [("bad", "IMAGE_UNREADABLE", 1)]
    ended = ingest_pb.CancelIngestJobRequest(id=job.id)
    assert refused(services.ingest.CancelIngestJob, ended) == ("FAILED_PRECONDITION", "id", "JOB_ENDED")
    listed = services.ingest.ListIngestJobs(ingest_pb.ListIngestJobsRequest(collection=name), timeout=TIMEOUT_S).jobs
    assert [one.id for one in listed] == [job.id]

    deleted = services.search.DeleteImages(search_pb.DeleteImagesRequest(collection=name, ids=["good", "x"]), timeout=TIMEOUT_S)
    assert deleted.deleted == 1
    assert deleted.revision > job.revision
    get = search_pb.GetImageRequest(collection=name, id="good", consistency=STRONG)
    assert refused(services.search.GetImage, get) == ("NOT_FOUND", "id", "IMAGE_NOT_FOUND")

    services.collections.DeleteCollection(collection_pb.DeleteCollectionRequest(name=name), timeout=TIMEOUT_S)
    gone = refused(services.collections.GetCollection, collection_pb.GetCollectionRequest(name=name))
    assert gone == ("NOT_FOUND", "name", "COLLECTION_NOT_FOUND")


def test_collections_are_listed_by_name_with_their_counts(services: Stubs) -> None:
    listed = services.collections.ListCollections(collection_pb.ListCollectionsRequest(), timeout=TIMEOUT_S).collections
    names = [collection.name for collection in listed]
    assert names == sorted(names)
    assert {collection.name: collection.image_count for collection in listed}[COLLECTION] == COUNT


FOLDER = ingest_pb.Source(folder=ingest_pb.FolderSource(uri="/etc"))
UPLOAD = ingest_pb.Source(upload=ingest_pb.UploadSource(upload_id="0" * 16))


@pytest.mark.parametrize(
    ("service", "method", "request_", "expected"),
    [
        (
            "collections",
            "CreateCollection",
            collection_pb.CreateCollectionRequest(name="A b"),
            ("INVALID_ARGUMENT", "name", "INVALID_ARGUMENT"),
        ),
        (
            "collections",
            "CreateCollection",
            made(collection_pb.CreateCollectionRequest, name="fine", spaces=[{"name": "a", "model": {"name": "nobody"}}]),
            ("NOT_FOUND", "spaces[0].model.name", "MODEL_NOT_FOUND"),
        ),
        (
            "collections",
            "CreateCollection",
            made(collection_pb.CreateCollectionRequest, name="fine", spaces=[{"name": "a", "histogram": {"bins": 7}}]),
            ("INVALID_ARGUMENT", "spaces[0].histogram.bins", "INVALID_ARGUMENT"),
        ),
        (
            "collections",
            "CreateCollection",
            made(collection_pb.CreateCollectionRequest, name="fine", spaces=[{"name": "a"}]),
            ("INVALID_ARGUMENT", "spaces[0].kind", "INVALID_ARGUMENT"),
        ),
        (
            "collections",
            "CreateCollection",
            made(collection_pb.CreateCollectionRequest, name="fine", spaces=[{"name": "a", "model": {}}] * 2),
            ("INVALID_ARGUMENT", "spaces[1].name", "INVALID_ARGUMENT"),
        ),
        (
            "collections",
            "CreateCollection",
            made(collection_pb.CreateCollectionRequest, name="fine", spaces=[{"name": "a b", "model": {}}]),
            ("INVALID_ARGUMENT", "spaces[0].name", "INVALID_ARGUMENT"),
        ),
        (
            "collections",
            "CreateCollection",
            made(collection_pb.CreateCollectionRequest, name="fine", spaces=[{"name": f"a{n}", "model": {}} for n in range(9)]),
            ("INVALID_ARGUMENT", "spaces", "INVALID_ARGUMENT"),
        ),
        (
            "collections",
            "ReembedCollection",
            collection_pb.ReembedCollectionRequest(name=COLLECTION, space="nothing"),
            ("NOT_FOUND", "space", "SPACE_NOT_FOUND"),
        ),
        (
            "collections",
            "ReembedCollection",
            collection_pb.ReembedCollectionRequest(name=COLLECTION, space="histogram", model="fashion"),
            ("INVALID_ARGUMENT", "model", "INVALID_ARGUMENT"),
        ),
        (
            "ingest",
            "CreateIngestJob",
            ingest_pb.CreateIngestJobRequest(collection=COLLECTION),
            ("INVALID_ARGUMENT", "source", "INVALID_ARGUMENT"),
        ),
        (
            "ingest",
            "CreateIngestJob",
            ingest_pb.CreateIngestJobRequest(collection="nowhere", source=UPLOAD),
            ("NOT_FOUND", "collection", "COLLECTION_NOT_FOUND"),
        ),
        (
            "ingest",
            "CreateIngestJob",
            ingest_pb.CreateIngestJobRequest(collection=COLLECTION, source=UPLOAD),
            ("NOT_FOUND", "source.upload.upload_id", "UPLOAD_NOT_FOUND"),
        ),
        (
            "ingest",
            "CreateIngestJob",
            ingest_pb.CreateIngestJobRequest(collection=COLLECTION, source=UPLOAD, request_id="a b"),
            ("INVALID_ARGUMENT", "request_id", "INVALID_ARGUMENT"),
        ),
        ("ingest", "GetIngestJob", ingest_pb.GetIngestJobRequest(id="no"), ("NOT_FOUND", "id", "INGEST_JOB_NOT_FOUND")),
        ("ingest", "WatchIngestJob", ingest_pb.WatchIngestJobRequest(id="no"), ("NOT_FOUND", "id", "INGEST_JOB_NOT_FOUND")),
        (
            "ingest",
            "ListIngestJobs",
            ingest_pb.ListIngestJobsRequest(page_size=-1),
            ("INVALID_ARGUMENT", "page_size", "INVALID_ARGUMENT"),
        ),
        (
            "ingest",
            "ListIngestJobs",
            ingest_pb.ListIngestJobsRequest(page_token="rubbish"),
            ("INVALID_ARGUMENT", "page_token", "INVALID_ARGUMENT"),
        ),
        (
            "ingest",
            "ListIngestJobs",
            made(ingest_pb.ListIngestJobsRequest, states=[ingest_pb.INGEST_JOB_STATE_FAILED, 0]),
            ("INVALID_ARGUMENT", "states[1]", "INVALID_ARGUMENT"),
        ),
        (
            "ingest",
            "ListIngestJobs",
            ingest_pb.ListIngestJobsRequest(created_after=timestamp_pb2.Timestamp(seconds=10**12)),
            ("INVALID_ARGUMENT", "created_after", "INVALID_ARGUMENT"),
        ),
        (
            "ingest",
            "ListIngestJobs",
            ingest_pb.ListIngestJobsRequest(text="a\n"),
            ("INVALID_ARGUMENT", "text", "INVALID_ARGUMENT"),
        ),
    ],
)
def test_a_bad_request_is_refused_with_status_field_and_reason(
    services: Stubs, service: str, method: str, request_: Message, expected: tuple[str, str, str]
) -> None:
    assert refused(getattr(getattr(services, service), method), request_) == expected


def test_a_folder_outside_the_roots_is_refused(services: Stubs) -> None:
    request = ingest_pb.CreateIngestJobRequest(collection=COLLECTION, source=FOLDER)
    status, _field, reason = refused(services.ingest.CreateIngestJob, request)
    assert (status, reason) == ("FAILED_PRECONDITION", "SOURCE_FORBIDDEN")


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ([], "header"),
        ([ingest_pb.UploadItemsRequest(item=ingest_pb.UploadItem(content=b"x"))], "header"),
        ([ingest_pb.UploadItemsRequest(header=ingest_pb.UploadHeader(collection="No"))], "header.collection"),
        ([ingest_pb.UploadItemsRequest(header=ingest_pb.UploadHeader(collection=COLLECTION))] * 2, "item"),
        (
            [
                ingest_pb.UploadItemsRequest(header=ingest_pb.UploadHeader(collection=COLLECTION)),
                ingest_pb.UploadItemsRequest(item=ingest_pb.UploadItem(metadata=image_pb2.Metadata())),
            ],
            "item",
        ),
    ],
)
def test_an_upload_that_breaks_the_rules_is_refused(
    services: Stubs, parts: Sequence[ingest_pb.UploadItemsRequest], field: str
) -> None:
    assert refused(services.ingest.UploadItems, iter(parts)) == ("INVALID_ARGUMENT", field, "INVALID_ARGUMENT")


# --- what foreign clients look for ---


def test_health_and_reflection_answer(channel: grpc.Channel) -> None:
    check = health_pb2.HealthCheckRequest(service="lookalike.v1.SearchService")
    assert health_pb2_grpc.HealthStub(channel).Check(check, timeout=TIMEOUT_S).status == health_pb2.HealthCheckResponse.SERVING
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked, timeout=TIMEOUT_S))
    names = {service.name for service in answer.list_services_response.service}
    assert {f"lookalike.v1.{name}Service" for name in ("Search", "Ingest", "Collection")} <= names
