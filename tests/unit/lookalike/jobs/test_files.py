"""Manifests and uploads in the artifacts."""

from __future__ import annotations

import secrets
from dataclasses import astuple
from pathlib import Path

import pytest

from lookalike.errors import Internal, InvalidArgument, NotFound, Unavailable
from lookalike.items import Item, broken_item
from lookalike.jobs import manifest
from lookalike.jobs.manifest import CHUNK_ITEMS, ManifestWriter, read_chunk, read_columns, read_spread
from lookalike.jobs.uploads import CLIENT_PROBLEM, Uploads
from lookalike.names import MAX_IMAGE_BYTES, id_from_content, id_from_uri
from lookalike.records.source import UploadItem
from lookalike.sources import Artifacts, Reader
from tests.unit.lookalike.full_disk import FullArtifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path.as_uri())


@pytest.fixture
def full(tmp_path: Path) -> FullArtifacts:
    return FullArtifacts(tmp_path.as_uri())


class TestManifest:
    def test_chunk_n_is_row_group_n(self, artifacts: Artifacts) -> None:
        items = [Item(n, f"id {n}", f"file:///{n}", {"n": n, "nested": {"ü": [1.5, None]}}) for n in range(600)]
        items[3] = broken_item(3, "line 4: broken", uri="file:///3", item_id="x")
        items[4] = Item(4, "id 4", "artifact://originals/ab/cd", {}, origin="C:\\pictures\\4.png")
        writer = ManifestWriter(artifacts, "jobs/j/manifest-a")
        for item in items:
            writer.add(item)
        writer.commit()
        assert writer.chunks == 3
        read = [item for chunk in range(3) for item in read_chunk(artifacts, "jobs/j/manifest-a", chunk)]
        assert read == items
        assert len(read_chunk(artifacts, "jobs/j/manifest-a", 0)) == CHUNK_ITEMS

    def test_a_long_manifest_is_in_several_files_and_read_as_one(
        self, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(manifest, "_PART_CHUNKS", 2)
        items = [Item(n, f"id {n}", f"file:///{n}") for n in range(5 * CHUNK_ITEMS + 7)]
        writer = ManifestWriter(artifacts, "jobs/j/manifest-a")
        for item in items:
            writer.add(item)
        writer.commit()
        assert (writer.chunks, artifacts.names("jobs/j/manifest-a")) == (6, [f"0000{n}.parquet" for n in range(3)])
        assert [item for chunk in range(6) for item in read_chunk(artifacts, "jobs/j/manifest-a", chunk)] == items
        assert list(read_columns(artifacts, "jobs/j/manifest-a", "position", "id")) == [(i.position, i.id) for i in items]
        spread = read_spread(artifacts, "jobs/j/manifest-a", 10)
        assert [item.position for item in spread] == [n * len(items) // 10 for n in range(10)]
        assert read_spread(artifacts, "jobs/j/manifest-a", 10_000) == items
        with pytest.raises(NotFound):
            read_chunk(artifacts, "jobs/j/manifest-a", 6)

    def test_an_empty_manifest_has_no_chunks(self, artifacts: Artifacts) -> None:
        writer = ManifestWriter(artifacts, "jobs/j/manifest-b")
        writer.commit()
        assert writer.chunks == 0
        assert list(read_columns(artifacts, "jobs/j/manifest-b", "id")) == []
        assert read_spread(artifacts, "jobs/j/manifest-b", 10) == []

    def test_missing_damaged_and_unreachable_manifests_are_distinguished(self, artifacts: Artifacts, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            read_chunk(artifacts, "jobs/j/none", 0)
        with pytest.raises(NotFound):
            list(read_columns(artifacts, "jobs/j/none", "id"))
        artifacts.write("jobs/j/damaged/00000.parquet", b"PAR1 and then nothing")
        with pytest.raises(Internal, match="damaged"):
            read_chunk(artifacts, "jobs/j/damaged", 0)
        (tmp_path / "jobs" / "j" / "broken").mkdir()
        (tmp_path / "jobs" / "j" / "broken" / "00000.parquet").symlink_to("/proc/self/mem")
        with pytest.raises(Unavailable):
            read_chunk(artifacts, "jobs/j/broken", 0)

    def test_a_full_disk_is_unavailable(self, full: FullArtifacts) -> None:
        writer = ManifestWriter(full, "jobs/j/manifest-a")
        writer.add(Item(0, "a", "file:///a"))
        with pytest.raises(Unavailable, match="No space left"):
            writer.commit()
        writer.discard()
        assert full.names("jobs/j") == []
        writer = ManifestWriter(full, "jobs/j/manifest-b")
        with pytest.raises(Unavailable, match="No space left"):
            list(map(writer.add, (Item(n, secrets.token_hex(100), "file:///a") for n in range(100 * CHUNK_ITEMS))))
        writer.discard()
        assert full.names("jobs/j") == []


class TestUploads:
    def test_a_finished_upload_is_listed_with_its_originals(self, artifacts: Artifacts) -> None:
        uploads = Uploads(artifacts)
        upload = uploads.begin("products")
        upload.add(UploadItem("mine", "C:\\a.png", content=b"one", metadata={"x": 1}))
        upload.add(UploadItem(uri="C:\\b.png", content=b"two"))
        upload.add(UploadItem(content=b"two"))
        upload.add(UploadItem(uri="file:///data/c.png"))
        upload.add(UploadItem("d", "d.png", problem="permission denied"))
        upload.add(UploadItem("y" * 300, "e.png", content=b"three"))
        upload_id, count, size_bytes = astuple(upload.finish())
        upload.abort()
        assert (count, size_bytes) == (6, 14)
        assert uploads.check(upload_id) == "products"
        items = list(uploads.items(upload_id))
        assert [item.position for item in items] == list(range(6))
        assert [item.id for item in items[:4]] == [
            "mine",
            id_from_uri("C:\\b.png"),
            id_from_content(b"two"),
            id_from_uri("file:///data/c.png"),
        ]
        assert [item.origin for item in items[:4]] == ["C:\\a.png", "C:\\b.png", "", ""]
        assert items[1].uri == items[2].uri
        assert Reader(artifacts, []).read(items[0].uri) == b"one"
        assert items[3].uri == "file:///data/c.png"
        assert (items[4].problem, items[4].problem_reason, items[4].id) == ("permission denied", CLIENT_PROBLEM, "d")
        assert "at most 256" in items[5].problem

    def test_an_original_that_is_torn_is_written_again(self, artifacts: Artifacts) -> None:
        uploads = Uploads(artifacts)
        first = uploads.begin("products")
        first.add(UploadItem("a", content=b"content"))
        (item,) = uploads.items(first.finish().id)
        artifacts.write(item.uri.removeprefix("artifact://"), b"")
        again = uploads.begin("products")
        again.add(UploadItem("a", content=b"content"))
        again.finish()
        assert Reader(artifacts, []).read(item.uri) == b"content"

    def test_a_full_disk_is_unavailable(self, full: FullArtifacts) -> None:
        upload = Uploads(full).begin("products")
        with pytest.raises(Unavailable, match="No space left"):
            upload.add(UploadItem("a", content=b"x" * 100_000))
        with pytest.raises(Unavailable, match="No space left"):
            list(map(upload.add, [UploadItem("a", "file:///a", metadata={"x": "y" * 10_000})] * 100))
        with pytest.raises(Unavailable, match="No space left"):
            upload.finish()
        upload.abort()
        assert full.names(f"uploads/{upload.id}") == []

    def test_nothing_is_listed_of_an_upload_that_broke_off(self, artifacts: Artifacts, tmp_path: Path) -> None:
        uploads = Uploads(artifacts)
        upload = uploads.begin("products")
        upload.add(UploadItem("a", content=b"one"))
        with pytest.raises(NotFound, match="upload"):
            uploads.check(upload.id)
        upload.abort()
        upload.abort()
        with pytest.raises(NotFound):
            list(uploads.items(upload.id))
        assert list((tmp_path / "uploads" / upload.id).iterdir()) == []

    @pytest.mark.parametrize("upload_id", ["", "../../etc", "0123456789abcdef", "x" * 500])
    def test_what_names_no_upload_is_not_found(self, artifacts: Artifacts, upload_id: str) -> None:
        with pytest.raises(NotFound):
            Uploads(artifacts).check(upload_id)

    def test_what_cannot_be_used_is_kept_with_its_reason_and_fails_alone(self, artifacts: Artifacts) -> None:
        uploads = Uploads(artifacts)
        upload = uploads.begin("products")
        upload.add(UploadItem("large", content=b"x" * (MAX_IMAGE_BYTES + 1)))
        upload.add(UploadItem("empty", problem="is empty", problem_reason="IMAGE_EMPTY"))
        upload.add(UploadItem("odd", problem="no idea", problem_reason="not a reason"))
        upload.add(UploadItem("good", content=b"picture"))
        upload.finish()
        items = list(uploads.items(upload.id))
        assert [item.problem_reason for item in items] == ["IMAGE_TOO_LARGE", "IMAGE_EMPTY", CLIENT_PROBLEM, ""]

    def test_items_that_break_the_contract_are_refused(self, artifacts: Artifacts) -> None:
        upload = Uploads(artifacts).begin("products")
        with pytest.raises(InvalidArgument, match="neither content nor URI nor problem"):
            upload.add(UploadItem("a"))
        upload.abort()
        with pytest.raises(InvalidArgument):
            Uploads(artifacts).begin("Not A Name")
