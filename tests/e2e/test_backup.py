"""A collection as files and back on the whole system, whatever is killed in between: the same images give the same answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lookalike.artifacts import Artifacts
from lookalike.backup.exporting import export_collection
from lookalike.backup.importing import import_collection
from lookalike.backup.layout import Export, read_export, write_export
from lookalike.client import Client, Consistency, Image, ImageUpdate
from lookalike.errors import FailedPrecondition, NotFound
from tests.contract.gateway_collections import fill, image_id, picture
from tests.servers.processes import kill, start, until
from tests.servers.stack import Stack
from tests.unit.lookalike.test_hostile_exports import as_of_0_1

COLLECTION = "backup_shoes"
COUNT = 60
SHARD = 4
ODD_ID = 'odd "id" with \\ and *'


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    fill(stack.target, COLLECTION, COUNT)
    with stack.client() as client:
        one = client.get_image(COLLECTION, image_id(0), view="full")
        vectors = {space: vector[::-1].copy() for space, vector in one.vectors.items()}
        odd = Image(ODD_ID, "s3://odd", {"nested": {"list": [1, None, "ü"]}}, one.sha256, 0, one.index_time, vectors)
        client.import_images(COLLECTION, [odd], client.get_collection(COLLECTION).spaces)
        yield client


def command(stack: Stack, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "lookalike.cli.main", "--address", stack.target, "collections", *map(str, arguments)]


def run(stack: Stack, *arguments: object) -> str:
    done = subprocess.run(command(stack, *arguments), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr


def killed_when(stack: Stack, log: Path, half_done: Callable[[], object], *arguments: object) -> None:
    """Start the command and kill it as soon as `half_done`."""
    process = start(command(stack, *arguments), log)
    try:
        until(half_done, f"{arguments} is under way", poll_s=0.002)
    finally:
        kill(process)


def images(client: Client, name: str) -> dict[str, Image]:
    return {image.id: image for image in client.list_images(name, view="full", page_size=7, consistency=Consistency.STRONG)}


def answers(client: Client, name: str) -> list[list[tuple[str, float]]]:
    """To three vector queries, in each space and in both."""
    found = []
    for number in (3, COUNT + 1, COUNT + 2):
        for spaces in (["histogram"], ["siamese"], ["histogram", "siamese"]):
            asked = client.search(name, image=picture(number), spaces=spaces, top_k=10, consistency=Consistency.STRONG)
            found.append([(hit.image.id, round(hit.similarity, 5)) for hit in asked.neighbours])
    return found


def test_what_is_exported_deleted_and_imported_is_what_it_was_whatever_is_killed(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    made = client.update_collection(COLLECTION, description="kept", spaces=["histogram"], weights={"siamese": 2.5}, ef=96)
    before, asked = images(client, COLLECTION), answers(client, COLLECTION)
    assert len(before) == COUNT + 1

    arguments = ("export", COLLECTION, folder, "--shard-images", SHARD)
    killed_when(stack, tmp_path / "log", (folder / "images-00001.parquet").exists, *arguments)
    half = read_export(Artifacts(folder.as_uri()))
    assert half is not None
    assert not half.complete, "killed too late to show anything"
    (folder / ".images-00099.parquet.deadbeef.part").write_bytes(b"what a killed run leaves")
    with pytest.raises(FailedPrecondition, match="not complete"):
        import_collection(client, Artifacts(folder.as_uri()), done=lambda _: None)
    assert f"exported {COUNT + 1} images of collection {COLLECTION} in 16 files" in run(stack, *arguments)
    assert sorted(path.name for path in folder.iterdir()) == [
        "collection.json",
        *(f"images-{number:05d}.parquet" for number in range(16)),
    ]
    described = json.loads((folder / "collection.json").read_text())
    assert [shard["images"] for shard in described["shards"]] == [SHARD] * 15 + [1]
    table = pq.read_table(folder / "images-00000.parquet")
    first = before[table["id"][0].as_py()]
    np.testing.assert_array_equal(np.array(table["vector_siamese"][0].as_py(), np.float32), first.vectors["siamese"])

    client.delete_collection(COLLECTION)
    killed_when(stack, tmp_path / "log", lambda: _count(client) >= SHARD, "import", folder)
    assert _count(client) < COUNT, "killed too late to show anything"
    printed = run(stack, "import", folder)
    assert "were already there" in printed
    after = images(client, COLLECTION)
    assert set(after) == set(before)
    for image_id_, image in before.items():
        now = after[image_id_]
        assert (now.uri, now.metadata, now.sha256, now.index_time) == (
            image.uri, image.metadata, image.sha256, image.index_time,
        )  # fmt: skip
        for space, vector in image.vectors.items():
            np.testing.assert_array_equal(now.vectors[space], vector)
    restored = client.get_collection(COLLECTION)
    assert (restored.spaces, restored.description, restored.defaults) == (made.spaces, "kept", made.defaults)
    assert answers(client, COLLECTION) == asked


@pytest.fixture(scope="module")
def exported(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_collection(client, COLLECTION, Artifacts(folder.as_uri()), shard_images=20, done=lambda _: None)
    return folder


def test_importing_again_sends_what_differs_only(client: Client, exported: Path) -> None:
    import_collection(client, Artifacts(exported.as_uri()), "backup_copy", done=lambda _: None)
    client.update_images("backup_copy", [ImageUpdate(image_id(1), {"label": "changed"})])
    client.delete_images("backup_copy", [image_id(2)])
    done = import_collection(client, Artifacts(exported.as_uri()), "backup_copy", done=lambda _: None)
    # The last file, of one image, is sent in any case.
    assert (done.sent, done.unchanged) == (2 + 1, COUNT + 1 - 3)
    assert images(client, "backup_copy").keys() == images(client, COLLECTION).keys()
    client.delete_collection("backup_copy")


def test_an_export_of_0_1_is_imported(client: Client, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "old")
    as_of_0_1(tmp_path / "old")
    assert (
        import_collection(client, Artifacts((tmp_path / "old").as_uri()), "backup_old", done=lambda _: None).sent == COUNT + 1
    )
    assert client.get_collection("backup_old").spaces == client.get_collection(COLLECTION).spaces
    client.delete_collection("backup_old")


def test_files_that_are_damaged_are_named_before_anything_is_written(client: Client, exported: Path, tmp_path: Path) -> None:
    def broken(change: Callable[[Path], object]) -> str:
        folder = tmp_path / change.__name__
        folder.mkdir()
        for path in exported.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        change(folder)
        with pytest.raises((FailedPrecondition, NotFound)) as raised:
            import_collection(client, Artifacts(folder.as_uri()), "backup_broken", done=lambda _: None)
        with pytest.raises(NotFound):
            client.get_collection("backup_broken")
        return raised.value.message

    def truncated(folder: Path) -> None:
        path = folder / "images-00001.parquet"
        path.write_bytes(path.read_bytes()[:-100])

    def missing(folder: Path) -> None:
        (folder / "images-00002.parquet").unlink()

    def exchanged(folder: Path) -> None:
        (folder / "images-00003.parquet").replace(folder / "images-00000.parquet")

    def another_table(folder: Path) -> None:
        table = pq.read_table(folder / "images-00001.parquet").drop_columns(["vector_siamese"])
        pq.write_table(table, folder / "images-00001.parquet")

    def no_json(folder: Path) -> None:
        (folder / "collection.json").write_text("{")

    def from_the_future(folder: Path) -> None:
        (folder / "collection.json").write_text('{"format": 3}')

    def empty(folder: Path) -> None:
        (folder / "collection.json").unlink()

    assert "images-00001.parquet is damaged" in broken(truncated)
    assert "images-00002.parquet is damaged: it is missing" in broken(missing)
    assert "images-00000.parquet is damaged: it holds 1 images instead of 20" in broken(exchanged)
    assert "images-00001.parquet is damaged: column vector_siamese" in broken(another_table)
    assert "collection.json is damaged" in broken(no_json)
    assert "made by a newer version of lookalike (format 3" in broken(from_the_future)
    assert "does not exist" in broken(empty)


def test_an_export_goes_into_no_collection_of_other_fingerprints_and_over_no_other_export(
    client: Client, exported: Path, tmp_path: Path
) -> None:
    from lookalike.client import HistogramSettings

    client.create_collection("backup_other", histogram=HistogramSettings(bins=8))
    with pytest.raises(FailedPrecondition) as refused:
        import_collection(client, Artifacts(exported.as_uri()), "backup_other", done=lambda _: None)
    assert refused.value.reason == "FINGERPRINT_MISMATCH"
    assert client.get_collection("backup_other").image_count == 0
    with pytest.raises(FailedPrecondition) as refused:
        export_collection(client, "backup_other", Artifacts(exported.as_uri()), done=lambda _: None)
    assert refused.value.reason == "EXPORT_DIFFERS"
    empty = export_collection(client, "backup_other", Artifacts((tmp_path / "none").as_uri()), done=lambda _: None)
    assert (empty.shards, empty.complete) == ((), True)
    client.delete_collection("backup_other")
    assert import_collection(client, Artifacts((tmp_path / "none").as_uri()), done=lambda _: None).sent == 0
    client.delete_collection("backup_other")


def test_what_an_export_says_of_itself_is_read_back(tmp_path: Path, client: Client) -> None:
    files, made = Artifacts(tmp_path.as_uri()), client.get_collection(COLLECTION)
    export = Export("a", "b", made.spaces, "2026-01-31T00:00:00+00:00", made.defaults)
    write_export(files, export)
    assert read_export(files) == export


def _count(client: Client) -> int:
    try:
        return client.get_collection(COLLECTION).image_count
    except NotFound:
        return 0
