"""Every public method of the client, given what it does not take: our own error that names the argument, and nothing sent."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike.client import (
    Client,
    Consistency,
    FolderSource,
    HistogramSettings,
    Image,
    ImageUpdate,
    IngestOptions,
    JobState,
    Metric,
    ModelSettings,
    Query,
    Space,
    SpaceSpec,
    Upload,
    UploadItem,
    UploadSource,
)
from lookalike.errors import BadImage, InvalidArgument, LookalikeError, NotFound
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.v1 import ingest_service_pb2
from tests.unit.lookalike.fake_gateway import FakeGateway, a_job, an_image, served

VECTOR = np.ones(4, np.float32)
SPACE = Space("siamese", 4, Metric.COSINE, "b" * 16, ModelSettings("small"))
IMAGE = Image("a", "", {}, "", 0, datetime(2026, 11, 23, tzinfo=UTC), {"siamese": VECTOR})
RIGHT: dict[str, Any] = {
    "collection": "shoes", "name": "shoes", "job_id": "job-1", "image_id": "a", "queries": [Query(image=b"x")],
    "items": [UploadItem(content=b"x")], "source": UploadSource("upload-1"), "updates": [ImageUpdate("a", {})],
    "images": [IMAGE], "spaces": [SPACE],
}  # fmt: skip
"""An argument of every name that a method cannot do without."""
WRONG: tuple[Any, ...] = (
    None, 5, -1, 2**31, 10**400, 0.5, float("nan"), float("inf"), 1e300, True, "", "5", "a\ud800", b"raw", bytearray(b"x"),
    Path("/nowhere/shoe.jpg"), [], [None], [5], ["x"], [b"x"], (Path("x"),), {}, {"siamese": None}, {5: 5}, {"siamese": "x"},
    {"siamese": [float("nan")]}, {"siamese": [1e300]}, {"siamese": [[1.0]]}, {"a": {"b": object()}}, object(), print, SPACE,
    datetime(2026, 1, 1), datetime.min.replace(tzinfo=UTC), date(2026, 1, 1), JobState.FAILED, np.int64(3), np.float32("nan"),
    VECTOR, np.array(["x"]), np.array([object()]), UploadItem, IngestOptions,
)  # fmt: skip


@pytest.fixture(scope="module")
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    with served(fake):
        yield fake


@pytest.fixture(scope="module")
def channel(gateway: FakeGateway) -> Iterator[Client]:
    with Client(gateway.target, timeout_s=10) as client:
        yield client


@pytest.fixture
def client(gateway: FakeGateway, channel: Client) -> Client:
    gateway.images = [an_image("a")]
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED)]
    gateway.collections.clear()
    channel.create_collection("shoes")
    return channel


def public_methods() -> list[str]:
    return [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_") and name != "close"]


def called(client: Client, method: str, given: dict[str, Any]) -> None:
    """Call it and read to the end what comes. `given` stands for one argument; the rest is right."""
    parameters = inspect.signature(getattr(Client, method)).parameters
    needed = {name: RIGHT[name] for name, one in parameters.items() if name != "self" and one.default is one.empty}
    if method in ("search", "search_many"):
        needed |= {"spaces": "siamese"} | ({"image": b"x"} if method == "search" and "image" not in given else {})
    found = getattr(client, method)(**(needed | given))
    if isinstance(found, Iterator):
        list(found)


def raised_by(client: Client, method: str, given: dict[str, Any]) -> LookalikeError | None:
    try:
        called(client, method, given)
    except LookalikeError as error:
        return error
    return None


@pytest.mark.parametrize("method", public_methods())
def test_no_argument_of_a_wrong_kind_gets_past_the_client(gateway: FakeGateway, client: Client, method: str) -> None:
    """Not by chance: with the right arguments every method works, and of every argument something is refused."""
    assert not isinstance(raised_by(client, method, {}), InvalidArgument)
    for name in inspect.signature(getattr(Client, method)).parameters:
        refused = 0
        for value in WRONG:
            if name == "self" or (name == "timeout_s" and isinstance(value, float | int) and 0 < value < 10):
                continue
            sent = len(gateway.seen)
            error = raised_by(client, method, {name: value})
            if isinstance(error, InvalidArgument) and len(gateway.seen) == sent:
                refused += 1
                assert error.field is not None
                assert error.field.partition(".")[0] in (name, "query", "vectors", "metadata"), (name, value, error)
        assert name == "self" or refused, name


def test_what_is_wrong_with_a_record_names_its_part(client: Client) -> None:
    for field, call in (
        ("source.uri", lambda: client.create_ingest_job("shoes", FolderSource(5))),  # type: ignore[arg-type]
        ("options.mirror", lambda: client.create_ingest_job("shoes", UploadSource("x"), options=IngestOptions(mirror="yes"))),  # type: ignore[arg-type]
        ("items.content", lambda: client.upload("shoes", [UploadItem(content="shoe.jpg")])),  # type: ignore[arg-type]
        ("items.metadata", lambda: client.upload("shoes", [UploadItem(metadata=[1])])),  # type: ignore[arg-type]
        ("updates[0].metadata.n", lambda: client.update_images("shoes", [ImageUpdate("a", {"n": float("nan")})])),
        ("updates[0].id", lambda: client.update_images("shoes", [ImageUpdate(5, {})])),  # type: ignore[arg-type]
        ("restored_spaces.metric", lambda: client.create_collection("boots", restored_spaces=[replace(SPACE, metric="X")])),  # type: ignore[arg-type]
        ("restored_spaces.kind", lambda: client.create_collection("boots", restored_spaces=[replace(SPACE, kind="photo")])),  # type: ignore[arg-type]
        ("restored_spaces", lambda: client.create_collection("boots", restored_spaces=[SPACE.spec])),  # type: ignore[list-item]
        ("spaces", lambda: client.create_collection("boots", spaces=[SPACE])),  # type: ignore[list-item]
        ("spaces", lambda: client.create_collection("boots", spaces=[SPACE.spec], model="photo")),
        ("spaces", lambda: client.create_collection("boots", spaces=SPACE.spec, histogram=HistogramSettings(bins=8))),
        ("histogram", lambda: client.create_collection("boots", histogram="grey")),  # type: ignore[arg-type]
        ("name", lambda: SpaceSpec("A b", ModelSettings())),
        ("kind", lambda: SpaceSpec("photo", "photo")),  # type: ignore[arg-type]
        ("model.name", lambda: ModelSettings("a/b")),
        ("images[0].vectors", lambda: client.import_images("shoes", [IMAGE], [replace(SPACE, name="histogram")])),
        ("histogram.grid", lambda: HistogramSettings(grid="2")),  # type: ignore[arg-type]
        ("histogram.color", lambda: HistogramSettings(color="yes")),  # type: ignore[arg-type]
        ("top_k", lambda: client.search_many("shoes", [], top_k="5")),  # type: ignore[arg-type]
        ("timeout_s", lambda: client.get_collection("shoes", timeout_s=0)),
        ("timeout_s", lambda: Client(timeout_s="5")),  # type: ignore[arg-type]
        ("address", lambda: Client(50051)),  # type: ignore[arg-type]
        ("address", lambda: Client("localhost:99999")),
    ):
        with pytest.raises(InvalidArgument) as refused:
            call()
        assert refused.value.field == field


def test_what_is_obviously_meant_is_taken(gateway: FakeGateway, client: Client, tmp_path: Path) -> None:
    picture = tmp_path / "shoe.jpg"
    picture.write_bytes(b"jpeg")

    client.search("shoes", image=picture, spaces="siamese", top_k=np.int64(7), consistency="strong")  # type: ignore[arg-type]
    request = gateway.seen[-1]
    assert (request.query.image, list(request.options.spaces), request.options.top_k) == (b"jpeg", ["siamese"], 7)
    assert request.options.consistency == 2
    for given in (bytearray(b"x"), memoryview(b"x")):
        client.search("shoes", image=given, consistency=Consistency.BOUNDED)  # type: ignore[arg-type]
        assert gateway.seen[-1].query.image == b"x"
    client.search("shoes", vectors={"siamese": [1, 2, 3]})  # type: ignore[dict-item]
    assert list(gateway.seen[-1].query.vectors.spaces[0].values) == [1.0, 2.0, 3.0]

    client.delete_images("shoes", "abc")
    assert list(gateway.seen[-1].ids) == ["abc"], "not a, b and c"
    list(client.list_jobs(states="failed"))
    assert list(gateway.seen[-1].states) == [ingest_service_pb2.INGEST_JOB_STATE_FAILED]
    client.create_ingest_job("shoes", Upload("upload-1", 1, 1))
    assert gateway.seen[-1].source.upload.upload_id == "upload-1"
    client.create_ingest_job("shoes", FolderSource(Path("/pictures")))  # type: ignore[arg-type]
    assert gateway.seen[-1].source.folder.uri == "/pictures"


def test_a_file_that_cannot_be_searched_for_is_reported_before_anything_is_sent(
    gateway: FakeGateway, client: Client, tmp_path: Path
) -> None:
    sent = len(gateway.seen)
    with pytest.raises(NotFound, match="nowhere"):
        client.search("shoes", image=tmp_path / "nowhere.jpg")
    with pytest.raises(LookalikeError, match="is not a file"):
        client.search("shoes", image=tmp_path)
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(10 * MAX_IMAGE_BYTES)
    with pytest.raises(BadImage, match="200000000 bytes"):
        client.search("shoes", image=large)
    assert len(gateway.seen) == sent


def test_of_uploaded_files_those_that_cannot_be_read_fail_alone(gateway: FakeGateway, client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    client.upload("shoes", [UploadItem(content=tmp_path / "a.jpg"), UploadItem(content=tmp_path / "b.jpg")])
    good, gone = (request.item for request in gateway.seen[-1])
    assert (good.content, good.problem) == (b"jpeg", "")
    assert (gone.content, gone.problem_reason) == (b"", "SOURCE_NOT_FOUND")
    assert "b.jpg" in gone.problem


def test_iterators_check_their_arguments_when_they_are_made(client: Client) -> None:
    for make in (
        lambda: client.list_images("shoes", page_size="x"),  # type: ignore[arg-type]
        lambda: client.list_jobs(page_size=None),  # type: ignore[arg-type]
        lambda: client.list_failures(5),  # type: ignore[arg-type]
        lambda: client.watch_job("job-1", patience_s="long"),  # type: ignore[arg-type]
        lambda: client.search_many("shoes", 5),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidArgument):
            make()
