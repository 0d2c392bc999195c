from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from lookalike import errors
from lookalike.client import (
    ArchiveSource,
    Client,
    CollectionDefaults,
    Consistency,
    FolderSource,
    HistogramSettings,
    JobState,
    ManifestSource,
    Metric,
    ModelSettings,
    Query,
    Source,
    SpaceSpec,
    UploadItem,
    UploadSource,
)
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.v1 import image_pb2, ingest_service_pb2, search_service_pb2
from lookalike.wire.values import metadata_from
from tests.unit.lookalike.fake_gateway import FakeGateway, a_job, an_image, gateway

__all__ = ["gateway"]


@pytest.fixture
def client(gateway: FakeGateway) -> Iterator[Client]:
    with Client(gateway.target, timeout_s=10) as client:
        yield client


def test_search_gives_neighbours_with_metadata_and_distances(gateway: FakeGateway, client: Client) -> None:
    gateway.images = [an_image("a", label="Coat", year=2019), an_image("b", price=1.5)]

    found = client.search("shoes", image=b"png", top_k=2, filter="year >= 2019")

    assert [hit.image.id for hit in found.neighbours] == ["a", "b"]
    first = found.neighbours[0]
    assert first.image.metadata == {"label": "Coat", "year": 2019}
    assert isinstance(first.image.metadata["year"], int)
    assert found.neighbours[1].image.metadata == {"price": 1.5}
    assert first.distance == pytest.approx(0.2)
    assert first.image.index_time == datetime.fromtimestamp(1_700_000_000, UTC)
    assert [(space.name, space.metric) for space in found.spaces] == [("histogram", Metric.L2), ("siamese", Metric.COSINE)]
    request = gateway.seen[-1]
    assert (request.query.image, request.options.top_k, request.options.filter) == (b"png", 2, "year >= 2019")


def test_a_fused_hit_has_no_distance_of_its_own(gateway: FakeGateway, client: Client) -> None:
    gateway.images = [an_image("a")]

    hit = client.search("shoes", image_id="x", spaces=("histogram", "siamese"), weights={"histogram": 0.5}).neighbours[0]

    assert hit.distance is None
    assert [share.space for share in hit.shares] == ["histogram", "siamese"]
    assert gateway.seen[-1].options.weights == {"histogram": 0.5}


def test_top_k_of_zero_reaches_the_server_which_refuses_it(gateway: FakeGateway, client: Client) -> None:
    client.search("shoes", image=b"png", top_k=0)
    assert gateway.seen[-1].options.HasField("top_k")
    client.search("shoes", image=b"png")
    assert gateway.seen[-1].options.top_k == 5


def test_any_number_of_queries_is_asked_in_requests_of_what_one_may_hold(gateway: FakeGateway, client: Client) -> None:
    gateway.images = [an_image("a")]
    read: list[int] = []

    def queries() -> Iterator[Query]:
        for number in range(600):
            read.append(number)
            yield Query(image=b"x")

    answers = client.search_many("shoes", queries(), top_k=1, filter="year >= 2019")
    first = next(answers)
    assert first.index == 255, "as it is ready: here the last of a request comes first"
    assert len(read) == 257, "no more is read than one request takes"
    every = [first, *answers]
    assert sorted(answer.index for answer in every) == list(range(600))
    assert all(answer.error is None and answer.result.neighbours[0].image.id == "a" for answer in every if answer.result)
    assert [len(request.queries) for request in gateway.seen] == [256, 256, 88]
    assert {(request.options.top_k, request.options.filter) for request in gateway.seen} == {(1, "year >= 2019")}


def test_a_request_of_many_queries_is_bounded_in_bytes(gateway: FakeGateway, client: Client) -> None:
    list(client.search_many("shoes", [Query(image=bytes(6_000_000)) for _ in range(5)] + [Query(image=bytes(19_000_000))]))
    assert [len(request.queries) for request in gateway.seen] == [2, 2, 1, 1]


def test_what_is_wrong_with_one_of_many_queries_is_its_answer(gateway: FakeGateway, client: Client) -> None:
    queries = [
        Query(image=b"good"),
        Query(image=bytes(MAX_IMAGE_BYTES + 1)),
        Query(image=b"bad"),
        Query(vectors={"siamese": np.zeros((2, 3), np.float32)}),
        Query(image_id="x"),
        Query(vectors={"siamese": np.zeros(3, np.float32)}),
    ]
    answers = sorted(client.search_many("shoes", queries), key=lambda answer: answer.index)
    assert [answer.index for answer in answers] == list(range(6))
    assert [type(answer.error) for answer in answers] == [
        type(None), errors.BadImage, errors.BadImage, errors.InvalidArgument, type(None), type(None),
    ]  # fmt: skip
    assert [answer.error.reason for answer in answers[1:3] if answer.error] == ["IMAGE_TOO_LARGE", "IMAGE_UNREADABLE"]
    (request,) = gateway.seen
    assert [one.query.WhichOneof("query") for one in request.queries] == ["image", "image", "image_id", "vectors"]


@pytest.mark.parametrize("query", [{}, {"image": b"x", "image_id": "y"}])
def test_a_query_of_many_that_is_not_one_query_cannot_be_made(query: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidArgument):
        Query(**query)


def test_what_ends_a_whole_request_of_many_queries_is_raised(gateway: FakeGateway, client: Client) -> None:
    gateway.fail = [errors.NotFound("collection", "shoes")]
    with pytest.raises(errors.NotFound):
        list(client.search_many("shoes", [Query(image=b"x")]))
    gateway.fail = [errors.Unavailable("milvus", "restarting")] * 2
    assert len(list(client.search_many("shoes", [Query(image=b"x")]))) == 1, "tried again, as a search is"


def test_queries_that_a_server_leaves_unanswered_are_not_taken_for_done(gateway: FakeGateway, client: Client) -> None:
    gateway.short = 2
    with pytest.raises(errors.Unavailable, match="2 of 5 queries not answered"):
        list(client.search_many("shoes", [Query(image=b"x")] * 5))


def test_no_queries_are_no_call(gateway: FakeGateway, client: Client) -> None:
    assert list(client.search_many("shoes", [])) == []
    assert gateway.seen == []


def test_vectors_travel_as_they_are(gateway: FakeGateway, client: Client) -> None:
    stored = an_image("a")
    vector = np.linspace(0, 1, 5, dtype=np.float32)
    stored.vectors.append(image_pb2.SpaceVector(space="siamese", values=vector.tolist()))
    gateway.images = [stored]

    image = client.get_image("shoes", "a", view="full")
    client.search("shoes", vectors={"siamese": vector})

    assert image.vectors["siamese"].dtype == np.float32
    np.testing.assert_array_equal(image.vectors["siamese"], vector)
    assert list(gateway.seen[-1].query.vectors.spaces[0].values) == vector.tolist()


@pytest.mark.parametrize(
    "query", [{}, {"image": b"x", "image_id": "y"}, {"vectors": {"siamese": np.zeros((2, 3), np.float32)}}]
)
def test_a_query_that_is_not_one_query_is_refused_before_it_is_sent(gateway: FakeGateway, client: Client, query: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(errors.InvalidArgument):
        client.search("shoes", **query)
    assert gateway.seen == []


@pytest.mark.parametrize(
    "raised",
    [
        errors.InvalidArgument("top_k", "is 0; 1 to 1,000 are allowed"),
        errors.BadImage("is truncated"),
        errors.BadFilter("column 3: expected a value"),
        errors.NotFound("collection", "shoes"),
        errors.FingerprintMismatch("siamese", "a" * 16, "b" * 16),
        errors.Overloaded("the queue is full", retry_after_s=2.5),
        errors.DeadlineExceeded("milvus took too long"),
    ],
)
def test_the_class_and_facts_of_an_error_survive_the_wire(
    gateway: FakeGateway, client: Client, raised: errors.LookalikeError
) -> None:
    gateway.fail = [raised]
    with pytest.raises(type(raised)) as caught:
        client.search("shoes", image=b"x")
    error = caught.value
    assert (error.message, error.reason, error.field) == (raised.message, raised.reason, raised.field)
    assert error.retry_after_s == raised.retry_after_s
    assert len(gateway.seen) == 1, "only UNAVAILABLE is tried again"


def test_unavailable_is_tried_again_where_that_is_safe(gateway: FakeGateway, client: Client) -> None:
    gateway.fail = [errors.Unavailable("milvus", "restarting")] * 2
    assert client.search("shoes", image=b"x").ef == 64
    assert len(gateway.seen) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.delete_images("shoes", ["a"]),
        lambda client: client.create_collection("shoes"),
        lambda client: client.delete_collection("shoes"),
        lambda client: client.cancel_job("job-1"),
    ],
)
def test_unavailable_is_not_tried_again_where_repeating_is_another_write(gateway: FakeGateway, client: Client, call) -> None:  # type: ignore[no-untyped-def]
    gateway.fail = [errors.Unavailable("milvus", "restarting")]
    with pytest.raises(errors.Unavailable, match="milvus is unavailable: restarting"):
        call(client)
    assert len(gateway.seen) == 1


def test_nobody_there_is_unavailable_and_names_the_address() -> None:
    with (
        Client("127.0.0.1:1", timeout_s=5) as client,
        pytest.raises(errors.Unavailable, match=r"nothing answers at 127\.0\.0\.1:1 "),
    ):
        client.list_collections()


def test_a_closed_client_says_so() -> None:
    client = Client("127.0.0.1:1")
    client.close()
    with pytest.raises(errors.LookalikeError, match="closed"):
        client.list_collections()
    with pytest.raises(errors.LookalikeError, match="closed"):
        list(client.search_many("shoes", [Query(image_id="x")]))


@pytest.mark.parametrize("target", ["nonsense", "", ":50051", "host:port"])
def test_a_target_that_is_no_address_is_refused(target: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="HOST:PORT"):
        Client(target)


def test_a_call_that_takes_too_long_ends_at_its_deadline(gateway: FakeGateway, client: Client) -> None:
    with pytest.raises(errors.DeadlineExceeded, match="did not answer in time"):
        client.upload("shoes", _never_ending(gateway), timeout_s=0.2)


def _never_ending(gateway: FakeGateway) -> Iterator[UploadItem]:
    yield UploadItem(id="a", content=b"x")
    gateway.hold.wait(10)


def test_images_are_listed_over_all_pages(gateway: FakeGateway, client: Client) -> None:
    gateway.images = [an_image(f"{number:03d}") for number in range(25)]
    assert [image.id for image in client.list_images("shoes", page_size=10)] == [f"{number:03d}" for number in range(25)]
    assert [request.page_token for request in gateway.seen] == ["", "10", "20"]


def test_an_update_of_a_collection_names_what_is_given_also_where_that_is_empty(gateway: FakeGateway, client: Client) -> None:
    client.create_collection("shoes", description="old", defaults=CollectionDefaults(("siamese",), {"siamese": 2.0}, 64))
    made = client.update_collection("shoes", description="", spaces="histogram", weights={})
    assert (made.description, made.defaults) == ("", CollectionDefaults(("histogram",), {}, 64))
    assert list(gateway.seen[-1].update_mask.paths) == ["description", "defaults.spaces", "defaults.weights"]
    with pytest.raises(errors.InvalidArgument, match=r"ef: is text; give a whole number"):
        client.update_collection("shoes", ef="many")  # type: ignore[arg-type]


def test_images_are_counted_as_fresh_as_is_asked(gateway: FakeGateway, client: Client) -> None:
    gateway.images = [an_image("a"), an_image("b")]
    assert client.count_images("shoes", filter="year > 2019", consistency=Consistency.STRONG) == 2
    (asked,) = gateway.seen
    assert (asked.collection, asked.filter) == ("shoes", "year > 2019")
    assert asked.consistency == search_service_pb2.CONSISTENCY_STRONG


def test_deleting_says_how_many_were_there(gateway: FakeGateway, client: Client) -> None:
    gateway.images = [an_image("a")]
    deleted = client.delete_images("shoes", ["a", "b"])
    assert (deleted.deleted, deleted.revision) == (1, 7)


def test_a_collection_keeps_its_settings(gateway: FakeGateway, client: Client) -> None:
    settings = HistogramSettings(bins=16, grid=4, color=True)
    made = client.create_collection("shoes", description="all of them", histogram=settings)
    assert [space.spec for space in made.spaces] == [
        SpaceSpec("histogram", settings),
        SpaceSpec("siamese", ModelSettings("photo")),
    ]
    assert client.get_collection("shoes") == made
    assert client.list_collections() == [made]
    with pytest.raises(errors.AlreadyExists):
        client.create_collection("shoes")
    client.delete_collection("shoes")
    with pytest.raises(errors.NotFound):
        client.get_collection("shoes")


def test_records_cannot_be_changed(gateway: FakeGateway, client: Client) -> None:
    made = client.create_collection("shoes")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "boots"  # type: ignore[misc]


def test_an_upload_sends_a_header_then_every_item(gateway: FakeGateway, client: Client) -> None:
    items = [
        UploadItem(id="a", uri="file:///a.png", content=b"123", metadata={"label": "Coat", "sizes": [1, 2]}),
        UploadItem(id="b", problem="cannot be read: Permission denied"),
    ]
    upload = client.upload("shoes", iter(items))
    assert (upload.id, upload.items, upload.size_bytes) == ("upload-1", 2, 3)
    first, second = (request.item for request in gateway.seen[-1])
    assert metadata_from(first.metadata) == {"label": "Coat", "sizes": [1, 2]}
    assert second.problem == "cannot be read: Permission denied"


def test_a_picture_too_large_is_not_sent_for_a_search(gateway: FakeGateway, client: Client) -> None:
    with pytest.raises(errors.BadImage) as raised:
        client.search("shoes", image=bytes(MAX_IMAGE_BYTES + 1))
    assert (raised.value.reason, raised.value.field) == ("IMAGE_TOO_LARGE", "image")
    assert gateway.seen == []


def test_a_picture_too_large_fails_alone_in_an_upload(gateway: FakeGateway, client: Client) -> None:
    items = [UploadItem(id="large", content=bytes(40_000_000), metadata={"year": 2019}), UploadItem(id="b", content=b"png")]
    assert client.upload("shoes", items).items == 2
    large, small = (request.item for request in gateway.seen[-1])
    assert (large.id, large.content) == ("large", b"")
    assert "40000000 bytes" in large.problem
    assert large.problem_reason == "IMAGE_TOO_LARGE"
    assert (small.content, small.problem) == (b"png", "")


def test_what_the_items_raise_comes_out_of_the_upload(gateway: FakeGateway, client: Client) -> None:
    def items() -> Iterator[UploadItem]:
        yield UploadItem(id="a", content=b"x")
        raise errors.NotFound("source", "folder")

    with pytest.raises(errors.NotFound, match="source 'folder'"):
        client.upload("shoes", items())


def test_metadata_that_cannot_be_stored_fails_its_item_alone(gateway: FakeGateway, client: Client) -> None:
    given: list[dict[str, object]] = [{"when": object()}, {"n": [2**63]}, {"n": [2**63 - 1]}]
    client.upload("shoes", [UploadItem(id=str(number), content=b"x", metadata=one) for number, one in enumerate(given)])
    first, second, third = (request.item for request in gateway.seen[-1])
    assert (first.id, first.problem_reason) == ("0", "ITEM_INVALID")
    assert first.problem.startswith("metadata.when: is of type object")
    assert second.problem.startswith("metadata.n[0]: 9223372036854775808 is out of range")
    assert (third.problem, third.content, metadata_from(third.metadata)) == ("", b"x", {"n": [2**63 - 1]})


def test_a_job_always_carries_a_request_id(gateway: FakeGateway, client: Client) -> None:
    first = client.create_ingest_job("shoes", UploadSource("upload-1"))
    second = client.create_ingest_job("shoes", FolderSource("/pictures", labels_from_folders=True), request_id="mine")
    assert first.request_id
    assert second.request_id == "mine"
    assert first.source == UploadSource("upload-1")
    assert second.source == FolderSource("/pictures", labels_from_folders=True)


@pytest.mark.parametrize(
    "source",
    [
        FolderSource("s3://bucket/photos/", labels_from_folders=True),
        ManifestSource("/data/list.parquet"),
        ArchiveSource("/data/shards"),
        UploadSource("upload-1"),
    ],
)
def test_a_job_shows_the_source_that_it_was_made_with(client: Client, source: Source) -> None:
    assert client.create_ingest_job("shoes", source).source == source


def test_jobs_are_searched_by_state_time_and_text_over_short_pages(gateway: FakeGateway, client: Client) -> None:
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_FAILED)]
    noon = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    found = client.list_jobs(
        "shoes", states=(JobState.FAILED, JobState.RUNNING), created_after=noon, text="nightly", page_size=7
    )
    assert [job.id for job in found] == ["job-1"]
    first, second = gateway.seen
    assert (first.collection, first.text, first.page_size) == ("shoes", "nightly", 7)
    assert set(first.states) == {ingest_service_pb2.INGEST_JOB_STATE_FAILED, ingest_service_pb2.INGEST_JOB_STATE_RUNNING}
    assert (first.created_after.ToDatetime(UTC), first.HasField("created_before")) == (noon, False)
    assert (second.page_token, second.text) == ("1", "nightly")
    list(client.list_jobs(created_before=noon))
    assert (gateway.seen[-1].HasField("created_after"), gateway.seen[-1].HasField("created_before")) == (False, True)
    with pytest.raises(errors.InvalidArgument, match="created_before: has no time zone"):
        list(client.list_jobs(created_before=datetime(2026, 11, 23)))


def test_watching_ends_with_the_job(gateway: FakeGateway, client: Client) -> None:
    gateway.jobs["job-1"] = [
        a_job(ingest_service_pb2.INGEST_JOB_STATE_RUNNING, submitted=3, indexed=1),
        a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED, submitted=3, indexed=2, skipped=1),
    ]
    seen = list(client.watch_job("job-1"))
    assert [job.state for job in seen] == [JobState.RUNNING, JobState.SUCCEEDED]
    assert seen[-1].counts.done == 3
    assert seen[-1].skip_reasons == {"DUPLICATE": 1}


def test_a_state_of_a_later_version_is_unknown_and_has_ended_where_the_job_has_an_end(
    gateway: FakeGateway, client: Client
) -> None:
    gateway.jobs["job-1"] = [a_job(99)]
    (job,) = client.watch_job("job-1")
    assert (job.state.name, job.standing, job.state.ended, job.ended) == ("UNKNOWN", "unknown (99)", False, True)
    with pytest.raises(errors.InvalidArgument, match=r"^states: .* is unknown; give a member of JobState"):
        list(client.list_jobs(states=job.state))


def test_watching_outlives_a_gateway_that_goes_away_for_a_while(gateway: FakeGateway, client: Client) -> None:
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED, submitted=1, indexed=1)]
    # More often than gRPC's own policy tries within one call.
    gateway.fail = [errors.Unavailable("redis", "restarting")] * 5
    assert [job.state for job in client.watch_job("job-1")] == [JobState.SUCCEEDED]


def test_watching_gives_up_when_its_patience_ends(gateway: FakeGateway, client: Client) -> None:
    gateway.fail = [errors.Unavailable("redis", "gone")] * 50
    with pytest.raises(errors.Unavailable, match="redis"):
        list(client.watch_job("job-1", patience_s=0.0))


def test_watching_an_unknown_job_is_not_found(client: Client) -> None:
    with pytest.raises(errors.NotFound):
        list(client.watch_job("no-such-job"))


def test_failures_are_listed_with_their_reasons(gateway: FakeGateway, client: Client) -> None:
    gateway.failures = [
        ingest_service_pb2.ItemFailure(id="a", uri="file:///a", reason="IMAGE_UNREADABLE", message="is truncated", position=4)
    ]
    (failure,) = client.list_failures("job-1")
    assert (failure.reason, failure.position) == ("IMAGE_UNREADABLE", 4)


def test_one_client_serves_many_threads(gateway: FakeGateway, client: Client) -> None:
    gateway.images = [an_image("a")]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.search("shoes", image=b"x").neighbours[0].image.id, range(64)))
    assert answers == ["a"] * 64
