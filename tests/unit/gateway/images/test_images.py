"""Images one by one: pages that end where they should, deletes in the right order, thumbnails made once."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.images.images import Images, Thumbnail
from lookalike.errors import FailedPrecondition, InvalidArgument, LookalikeError, NotFound, Unavailable
from lookalike.records.image import Consistency, Delete, Deletion, ImageView, StoredImage
from lookalike.sources import Artifacts, Reader
from tests.unit.gateway.fakes import (
    NOTHING,
    FakeEmbedder,
    FakeLedger,
    MemoryBackends,
    a_call,
    few_threads,
    image,
)


@dataclass
class World:
    images: Images
    backends: MemoryBackends
    ledger: FakeLedger
    embedder: FakeEmbedder
    artifacts: Artifacts
    roots: Path

    def page(self, **fields: Any) -> tuple[list[StoredImage], str]:
        request: dict[str, Any] = {
            "filter_text": "",
            "limit": 50,
            "after_id": "",
            "view": ImageView.BASIC,
            "consistency": Consistency.BOUNDED,
        } | fields
        page = asyncio.run(self.images.page("things", **request, call=a_call()))
        return page.images, page.last_id

    def thumbnail(self, image_id: str) -> Thumbnail:
        return asyncio.run(self.images.thumbnail("things", image_id, a_call()))


@pytest.fixture
def world(tmp_path: Path) -> World:
    roots = tmp_path / "pictures"
    roots.mkdir()
    artifacts = Artifacts((tmp_path / "artifacts").as_uri())
    backends, ledger, embedder = MemoryBackends(), FakeLedger(), FakeEmbedder()
    core = Images(backends, ledger, embedder, artifacts, Reader(artifacts, [roots]), few_threads())
    return World(core, backends, ledger, embedder, artifacts, roots)


def stored(world: World, *images: StoredImage) -> None:
    world.backends.put(*images)


@pytest.mark.parametrize(("count", "size", "pages"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (0, 2, [0]), (1000, 1000, [1000])])
def test_pages_hold_every_image_once_and_the_last_says_so(world: World, count: int, size: int, pages: list[int]) -> None:
    stored(world, *(image(f"{number:05d}") for number in range(count)))
    seen, lengths, last_id = [], [], ""
    while True:
        images, last_id = world.page(limit=size, after_id=last_id)
        lengths.append(len(images))
        seen += [one.id for one in images]
        if not last_id:
            break
    assert lengths == pages
    assert seen == [f"{number:05d}" for number in range(count)]


def test_an_image_that_is_not_there_is_not_found(world: World) -> None:
    get = world.images.get("things", "x", view=ImageView.BASIC, consistency=Consistency.BOUNDED, call=a_call())
    with pytest.raises(NotFound) as raised:
        asyncio.run(get)
    assert (raised.value.reason, raised.value.field) == ("IMAGE_NOT_FOUND", "id")


def test_a_delete_buries_the_ids_under_the_lock_before_the_rows_go(world: World) -> None:
    stored(world, image("a"), image("b"))
    assert asyncio.run(world.images.delete("things", Delete(("b", "b", "missing")), a_call())) == Deletion(1, 9)
    assert world.ledger.log == ["lock things", "revision", "bury b,missing at 9", "unlock"]
    assert world.backends.vectors.calls == ["delete"]
    assert set(world.backends.images) == {"a"}


def test_a_delete_whose_lock_was_lost_deletes_nothing(world: World) -> None:
    stored(world, image("a"))
    world.ledger.still_held = False
    with pytest.raises(Unavailable):
        asyncio.run(world.images.delete("things", Delete(("a",)), a_call()))
    assert set(world.backends.images) == {"a"}


@pytest.mark.parametrize(("ids", "field"), [([], "ids"), (["x"] * 1001, "ids"), (["a", ""], "ids[1]"), (["a" * 257], "ids[0]")])
def test_ids_that_cannot_be_deleted_are_named(world: World, ids: list[str], field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        asyncio.run(world.images.delete("things", Delete(tuple(ids)), a_call()))
    assert raised.value.field == field


def test_a_thumbnail_is_made_of_the_file_behind_the_uri_once_and_then_kept(world: World) -> None:
    path = world.roots / "shoe.png"
    path.write_bytes(b"shoe")
    stored(world, image("a", uri=path.as_uri(), sha256=hashlib.sha256(b"shoe").hexdigest()))
    first = world.thumbnail("a")
    path.unlink()
    assert first.jpeg == b"jpeg of shoe"
    assert world.thumbnail("a") == first
    assert world.embedder.thumbnails == 1


def test_an_uploaded_original_is_preferred_to_a_uri_that_may_not_be_read(world: World) -> None:
    sha256 = hashlib.sha256(b"shoe").hexdigest()
    world.artifacts.write(world.artifacts.original_path(sha256), b"shoe")
    stored(world, image("a", uri="file:///home/someone/shoe.png", sha256=sha256))
    assert world.thumbnail("a").jpeg == b"jpeg of shoe"


def test_a_file_that_has_changed_since_it_was_indexed_is_not_shown_as_it_is_now(world: World) -> None:
    path = world.roots / "shoe.png"
    path.write_bytes(b"hat")
    stored(world, image("a", uri=path.as_uri(), sha256=hashlib.sha256(b"shoe").hexdigest()))
    with pytest.raises(FailedPrecondition) as raised:
        world.thumbnail("a")
    assert raised.value.reason == "SOURCE_CHANGED"
    assert world.embedder.thumbnails == 0


@pytest.mark.parametrize(
    ("uri", "error"),
    [("", NotFound), ("file:///etc/hostname", FailedPrecondition), ("gs://bucket/a.png", InvalidArgument)],
)
def test_a_thumbnail_of_bytes_that_cannot_be_had_says_why(world: World, uri: str, error: type[LookalikeError]) -> None:
    stored(world, image("a", uri=uri, sha256="d" * 64))
    with pytest.raises(error):
        world.thumbnail("a")


def test_a_collection_name_is_checked_before_anything_is_asked() -> None:
    core = Images(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, few_threads())
    with pytest.raises(InvalidArgument) as raised:
        asyncio.run(core.delete("No", Delete(("a",)), a_call()))
    assert raised.value.field == "collection"
