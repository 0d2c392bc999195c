"""Exports that others have made: what is wrong is named, with its file, before memory is spent or a vector is sent."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.artifacts import Artifacts
from lookalike.backup import layout
from lookalike.backup.exporting import export_collection
from lookalike.backup.importing import import_collection
from lookalike.backup.layout import Export, Shard, check_shard, read_export, read_shard, shard_writer, write_export
from lookalike.client import Collection, Image
from lookalike.errors import FailedPrecondition
from lookalike.metadata import UNKNOWN_VALUE
from lookalike.spaces import HistogramSettings, Metric, ModelSettings, Space, UnknownKind

MIB = 1024 * 1024
HISTOGRAM = HistogramSettings(bins=8)
SPACES = (HISTOGRAM.space(), Space("siamese", 4, Metric.COSINE, "b" * 16, ModelSettings("small")))
SHARD = "images-00000.parquet"
COUNT = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = Artifacts(tmp_path.as_uri())
    images = [
        Image(f"id{n}", f"s3://b/{n}.png", {"n": n}, "a" * 64, n, datetime.now(UTC),
              {"histogram": np.full(24 if HISTOGRAM.color else 8, 0.1, np.float32), "siamese": np.ones(4, np.float32)})
        for n in range(COUNT)
    ]  # fmt: skip
    with shard_writer(files, SHARD, SPACES) as writer:
        writer.write(images)
    write_export(files, Export("shoes", "", SPACES, "", shards=(Shard(SHARD, COUNT, "id2"),), complete=True))
    return tmp_path


def test_metadata_of_a_newer_server_is_not_exported_as_something_else(tmp_path: Path) -> None:
    unknown = Image("id0", "", {"n": [UNKNOWN_VALUE]}, "a" * 64, 1, datetime.now(UTC), {})
    with (
        pytest.raises(FailedPrecondition, match=r"^image 'id0' has metadata that this version"),
        shard_writer(Artifacts(tmp_path.as_uri()), SHARD, ()) as writer,
    ):
        writer.write([unknown])


def test_a_space_of_a_newer_server_is_not_exported_as_something_else(tmp_path: Path) -> None:
    space = Space("tags", 4, Metric.COSINE, "f" * 16, UnknownKind())
    client: Any = SimpleNamespace(get_collection=lambda _: Collection("shoes", "", "", (space,), 1, datetime.now(UTC)))
    with pytest.raises(FailedPrecondition, match=r"^space 'tags' has a metric or kind that this version"):
        export_collection(client, "shoes", Artifacts(tmp_path.as_uri()), done=lambda _: None)
    assert list(tmp_path.iterdir()) == []


def as_of_0_1(folder: Path) -> None:
    """Let `collection.json` say what 0.1 said."""
    path = folder / "collection.json"
    raw = json.loads(path.read_text())
    histogram, siamese = raw["spaces"]
    raw |= {"format": 1, "histogram": histogram.pop("histogram"), "model": siamese.pop("model")["name"]}
    path.write_text(json.dumps({name: value for name, value in raw.items() if name != "defaults"}))


def test_an_export_of_0_1_is_read(folder: Path) -> None:
    now = read_export(Artifacts(folder.as_uri()))
    images = read(folder)
    as_of_0_1(folder)
    assert read_export(Artifacts(folder.as_uri())) == now
    assert [image.id for image in read(folder)] == [image.id for image in images]


def test_an_export_of_a_newer_version_is_refused_by_name_and_not_touched(folder: Path) -> None:
    path, files = folder / "collection.json", Artifacts(folder.as_uri())
    path.write_text(json.dumps({"format": layout.FORMAT + 1, "rooms": []}))
    before = {one: one.read_bytes() for one in folder.iterdir()}
    # Neither gets as far as to ask for images, or to make a collection.
    client: Any = SimpleNamespace(get_collection=lambda name: name)
    calls: list[Callable[[], object]] = [
        lambda: import_collection(client, files, done=print),
        lambda: export_collection(client, "shoes", files, done=print),
    ]
    for call in calls:
        with pytest.raises(FailedPrecondition, match=r"^collection\.json was made by a newer version of lookalike") as refused:
            call()
        assert refused.value.reason == "EXPORT_FORMAT_UNKNOWN"
    assert {one: one.read_bytes() for one in folder.iterdir()} == before


def read(folder: Path) -> list[Image]:
    files = Artifacts(folder.as_uri())
    export = read_export(files)
    assert export is not None
    for shard in export.shards:
        check_shard(files, shard, export.spaces)
    return [image for shard in export.shards for images in read_shard(files, shard, export.spaces) for image in images]


def refused(folder: Path) -> str:
    with pytest.raises(FailedPrecondition) as caught:
        read(folder)
    assert caught.value.reason == "EXPORT_DAMAGED"
    return caught.value.message


def described(folder: Path, **changes: object) -> None:
    path = folder / "collection.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def space(**changes: object) -> dict[str, object]:
    return {"name": "a", "dimension": 4, "metric": "L2", "fingerprint": "a" * 16, "model": {"name": "photo"}, **changes}


def rewritten(folder: Path, change: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    path = folder / SHARD
    pq.write_table(change(pq.read_table(path)), path, compression="zstd", **options)


def with_column(name: str, values: object) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))

    return changed


def test_a_whole_export_is_read_as_it_was_written(folder: Path) -> None:
    assert [(image.id, image.metadata, image.sha256) for image in read(folder)] == [
        (f"id{n}", {"n": n}, "a" * 64) for n in range(COUNT)
    ]


def test_a_row_group_of_any_size_is_read_some_images_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ROWS_AT_ONCE", 2)
    files = Artifacts(folder.as_uri())
    assert [len(images) for images in read_shard(files, Shard(SHARD, COUNT, "id2"), SPACES)] == [2, 1]


def test_a_page_that_claims_more_than_it_may_is_not_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten(folder, with_column("uri", ["x" * 4 * MIB, "b", "c"]), use_dictionary=False, write_statistics=False)
    monkeypatch.setattr("lookalike.listing.parquet_pages.MAX_PAGES_BYTES", MIB)
    before = pa.total_allocated_bytes()
    assert f"{SHARD} is damaged: column 'uri' has pages of 4,1" in refused(folder)
    assert pa.total_allocated_bytes() - before < MIB


def test_a_footer_that_is_too_long_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.listing.parquet_pages.MAX_FOOTER_BYTES", 100)
    assert f"{SHARD} is damaged: has a footer of" in refused(folder)


def test_a_description_that_is_too_long_is_not_taken_apart(folder: Path) -> None:
    (folder / "collection.json").write_bytes(b"[" + b"[]," * (30 * MIB) + b"0]")
    tracemalloc.start()
    try:
        assert "collection.json is damaged: it is longer than 8,388,608 bytes" in refused(folder)
        assert tracemalloc.get_traced_memory()[1] < 24 * MIB
    finally:
        tracemalloc.stop()


def test_a_description_that_could_not_be_read_again_is_not_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Artifacts(folder.as_uri())
    export = read_export(files)
    assert export is not None
    monkeypatch.setattr(layout, "MAX_DESCRIPTION_BYTES", 100)
    with pytest.raises(FailedPrecondition, match="export to an empty place with a larger --shard-images") as caught:
        write_export(files, export)
    assert caught.value.reason == "EXPORT_TOO_MANY_FILES"
    monkeypatch.undo()
    assert read_export(files) == export


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "../x"}, "name '../x' is not a valid name"),
        ({"name": 5}, "name is not text"),
        ({"spaces": [space(model={"name": "a/b"})]}, "model.name 'a/b' is not a valid name"),
        ({"spaces": [space(model={"name": 5})]}, "model.name 5 is not text"),
        ({"spaces": [space(model={"nome": "photo"})]}, "nome"),
        ({"spaces": [space(histogram={})]}, ""),
        ({"format": 1, "model": "a/b", "histogram": {}}, "model.name 'a/b' is not a valid name"),
        ({"format": 1, "model": "a"}, "'histogram' is missing"),
        ({"description": "x" * 200_000}, "description is 200000 characters long"),
        ({"format": 1, "model": "a", "histogram": {"bins": 7}}, "histogram.bins 7 is not one of"),
        ({"format": 1, "model": "a", "histogram": 5}, ""),
        ({"spaces": []}, "spaces is not a list of 1 to 8 spaces"),
        ({"spaces": [space(name=f"a{n}") for n in range(9)]}, "spaces is not a list of 1 to 8 spaces"),
        ({"spaces": {}}, "spaces is not a list"),
        ({"spaces": [5]}, ""),
        ({"spaces": [space(dimension=1 << 40)]}, "spaces.dimension 1099511627776 is out of range"),
        ({"spaces": [space(name="a/b")]}, "spaces.name 'a/b' is not a valid name"),
        ({"spaces": [space(fingerprint="?")]}, "spaces.fingerprint is not a fingerprint"),
        ({"spaces": [space(fingerprint=12345678)]}, "spaces.fingerprint is not a fingerprint"),
        ({"spaces": [space(), space()]}, "spaces names a space twice"),
        ({"shards": [{"name": "../a.parquet", "images": 1, "last_id": "a"}]}, "'../a.parquet' is not the name of a file"),
        ({"shards": [{"name": "/etc/passwd", "images": 1, "last_id": "a"}]}, "'/etc/passwd' is not the name of a file"),
        ({"shards": [{"name": SHARD, "images": -1, "last_id": "a"}]}, "shards.images of images-00000.parquet is not a number"),
        ({"shards": [{"name": SHARD, "images": COUNT, "last_id": "id2"}] * 2}, "shards names a file twice"),
        ({"shards": 7}, "shards is not a list"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_description_says_is_looked_at(folder: Path, changes: dict[str, object], problem: str) -> None:
    described(folder, **changes)
    message = refused(folder)
    assert message.startswith("collection.json is damaged: ")
    assert problem in message


def test_a_description_without_end_of_depth_is_refused(folder: Path) -> None:
    (folder / "collection.json").write_text("[" * 100_000)
    assert refused(folder) == "collection.json is damaged: it is nested too deep"


@pytest.mark.parametrize(
    ("column", "first", "problem"),
    [
        ("id", "", "id of image '' is empty"),
        ("id", None, "id of image '' is empty"),
        ("id", "x" * 300, "is 300 bytes long; at most 256 are allowed"),
        ("uri", "x" * 3000, "uri of image 'id0' is 3000 bytes long"),
        ("metadata", json.dumps({"a": "x" * 70_000}), "metadata of image 'id0' is longer than 65,536 bytes"),
        ("metadata", "[1]", "metadata of image 'id0' is not a JSON object"),
        ("metadata", "{", "metadata of image 'id0' is not JSON"),
        ("metadata", '{"a": [1, 9223372036854775808]}', "metadata.a[1] of image 'id0' 9223372036854775808 is out of range"),
        ("metadata", '{"a": NaN}', "metadata.a of image 'id0' NaN is not a number of JSON"),
        ("metadata", "[" * 60_000, "metadata of image 'id0' is not JSON, or nested too deep"),
        ("sha256", "../../x", "sha256 of image 'id0' is not a SHA-256"),
        ("vector_siamese", None, "a vector of space siamese is missing"),
        ("vector_siamese", [1, None, 1, 1], "a vector of space siamese is missing"),
        ("vector_siamese", [1, float("nan"), 1, 1], "a vector of space siamese holds a value that is not a finite number"),
        ("vector_histogram", [float("inf")] * 8, "a vector of space histogram holds a value that is not a finite number"),
        ("vector_histogram", [1e9] * 8, "a vector of space histogram has a length of 2.83e+09"),
        ("vector_siamese", [0, 0, 0, 0], "a vector of space siamese is all zeros"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_no_collection_could_hold_is_named_with_its_file(folder: Path, column: str, first: object, problem: str) -> None:
    rest = pq.read_table(folder / SHARD)[column].to_pylist()[1:]
    rewritten(folder, with_column(column, [first, *rest]))
    message = refused(folder)
    assert message.startswith(f"{SHARD} is damaged: ")
    assert problem in message


def test_vectors_of_another_length_are_refused(folder: Path) -> None:
    def shorter(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index("vector_siamese")
        return table.set_column(place, "vector_siamese", pa.array([[1.0, 2.0]] * COUNT, pa.list_(pa.float32(), 2)))

    rewritten(folder, shorter)
    assert f"{SHARD} is damaged: column vector_siamese is missing, doubled or of another type" in refused(folder)
