"""Tar files and WebDataset's shards: what is found in them, and how single members are read later."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import fsspec
import pytest

from lookalike.errors import FailedPrecondition, InvalidArgument, LookalikeError, NotFound
from lookalike.items import ITEM_INVALID, SOURCE_HIDDEN, SOURCE_INCOMPLETE, Item, member_uri, split_member
from lookalike.listing import list_archive
from lookalike.listing.tars import plain_stream
from lookalike.names import id_from_uri
from lookalike.sources import Artifacts, Reader
from tests.unit.lookalike.tar_files import tar

URI = "file:///data/shard.tar"


def listed(content: bytes, name: str = "shard.tar") -> list[Item]:
    return list(list_archive(plain_stream(io.BytesIO(content), name), name, URI))


class TestListing:
    def test_members_that_share_a_name_up_to_the_first_dot_belong_together_wherever_they_stand(self) -> None:
        items = listed(
            tar(
                {
                    "set/1.json": b'{"label": "bag", "price": 9.5}',
                    "set/1.jpg": b"one",
                    "set/2.PNG": b"two",
                    "set/3.left.png": b"three, left",
                    "other/2.txt": b"not of set/2",
                    "set/3.right.png": b"three, right",
                    "set/3.txt": "größe\n".encode(),
                    "set/2.json": b"{}",
                    "notes.md": b"no picture",
                    "set/._1.jpg": b"a Mac's shadow",
                }
            )
        )
        assert items.pop().problem_reason == SOURCE_HIDDEN
        assert [(split_member(item.uri)[0], dict(item.metadata)) for item in items] == [
            ("set/1.jpg", {"label": "bag", "price": 9.5}),
            ("set/2.PNG", {}),
            ("set/3.left.png", {"caption": "größe"}),
            ("set/3.right.png", {"caption": "größe"}),
        ]
        assert [item.position for item in items] == [0, 1, 2, 3]
        assert all(item.id == id_from_uri(item.uri) and item.size_bytes and not item.problem for item in items)

    @pytest.mark.parametrize(
        ("members", "metadata"),
        [
            ({"22.05.png": 0, "22.05.json": {"n": 1}}, {"22.05.png": {"n": 1}}),
            ({"22.05.json": {"n": 1}, "22.06.png": 0, "22.05.png": 0}, {"22.06.png": {}, "22.05.png": {"n": 1}}),
            ({"22.png": 0, "22.05.png": 0, "22.json": {"n": 1}}, {"22.png": {"n": 1}, "22.05.png": {}}),
            ({"a.seg.png": 0, "a.json": {"n": 1}}, {"a.seg.png": {"n": 1}}),
            ({"a.seg.png": 0, "a.jpg": 0, "a.json": {"n": 1}}, {"a.seg.png": {"n": 1}, "a.jpg": {"n": 1}}),
            ({"a.seg.png": 0, "a.cls.json": {"n": 1}}, {"a.seg.png": {"n": 1}}),
            ({"a.seg.png": 0, "a.cls.json": 5, "a.meta.json": {"n": 1}}, {"a.seg.png": {"cls": 5, "n": 1}}),
            ({"a.seg.png": 0, "a.seg.json": {"n": 1}, "a.json": {"n": 2}}, {"a.seg.png": {"n": 1}}),
            ({"a.seg.png": 0, "a.left.png": 0, "a.left.json": {"n": 1}}, {"a.seg.png": {}, "a.left.png": {"n": 1}}),
            ({"v1.2/a.png": 0, "v1.2/a.JSON": {"n": 1}, "a.json": {"n": 2}}, {"v1.2/a.png": {"n": 1}}),
        ],
    )
    def test_metadata_is_of_the_picture_of_its_name_or_else_of_its_sample(
        self, members: dict[str, object], metadata: dict[str, object]
    ) -> None:
        items = listed(tar({name: json.dumps(content).encode() for name, content in members.items()}))
        assert {split_member(item.uri)[0]: dict(item.metadata) for item in items} == metadata
        assert not any(item.problem for item in items)

    def test_captions_are_found_as_metadata_is(self) -> None:
        members = {"22.05.png": b"", "22.05.txt": b"own", "22.06.png": b"", "a.seg.png": b"", "a.prompt.txt": b"sample's"}
        captions = [item.metadata.get("caption") for item in listed(tar(members))]
        assert captions == ["own", None, "sample's"]

    def test_links_are_not_followed_and_not_left_out_in_silence(self) -> None:
        first, link, last = listed(tar({"a.png": b"1", "link.png@a.png": b"", "link.txt@a.png": b"", "b.png": b"2"}))
        assert [split_member(item.uri)[0] for item in (first, link, last)] == ["a.png", "link.png", "b.png"]
        assert link.problem.startswith("shard.tar: link.png: is a link to another file")
        assert link.problem_reason == ITEM_INVALID
        assert not first.problem + last.problem

    @pytest.mark.parametrize(
        ("side", "content", "problem"),
        [
            ("x.json", b"{", "its .json: is not JSON"),
            ("x.json", b"[1]", "its .json: is not a JSON object"),
            ("x.json", b'{"a": NaN}', "metadata.a: NaN is not a number of JSON"),
            ("x.json", b'{"a": "' + b"y" * 20_000 + b'"}', "at most 16384"),
            ("x.json", b" " * 300_000, "its .json: is longer than"),
            ("x.txt", b"\xff", "its .txt: is not UTF-8"),
        ],
    )
    def test_metadata_that_cannot_be_used_fails_its_own_picture(self, side: str, content: bytes, problem: str) -> None:
        good, bad = listed(tar({"good.png": b"1", "x.png": b"2", side: content}))
        assert not good.problem
        assert bad.problem_reason == ITEM_INVALID
        assert bad.problem.startswith("shard.tar: x.png: ")
        assert problem in bad.problem

    def test_names_in_any_encoding_can_be_found_again(self, tmp_path: Path) -> None:
        names = {
            os.fsdecode(b"latin-\xe9.png"): b"1",
            "späte Ernte 50%.png": b"2",
            "a::b.png": b"3",
            "long/" * 40 + "x.png": b"4",
        }
        path = tmp_path / "shard.tar"
        path.write_bytes(tar(names))
        reader = Reader(Artifacts((tmp_path / "artifacts").as_uri()), [tmp_path])
        for item in list_archive(path.open("rb"), "shard.tar", path.as_uri()):
            assert reader.read(item.uri) == names[split_member(item.uri)[0]]
            assert reader.read(item.uri, offset=item.offset, size_bytes=item.size_bytes) == names[split_member(item.uri)[0]]

    @pytest.mark.parametrize("compressed", [False, True])
    def test_a_tar_cut_off_gives_what_is_whole_and_says_where_it_broke(self, compressed: bool) -> None:
        names = [f"{number:02d}.png" for number in range(20)]
        whole = tar({name: os.urandom(3000) for name in names}, compressed=compressed)
        name = "shard.tar.gz" if compressed else "shard.tar"
        for share in (0.2, 0.5, 0.8):
            *good, last = listed(whole[: int(len(whole) * share)], name)
            assert [split_member(item.uri)[0] for item in good] == names[: len(good)]
            assert abs(len(good) - 20 * share) < 4
            assert last.problem_reason == SOURCE_INCOMPLETE
            assert last.problem.startswith(f"{name} breaks off in '{names[len(good)]}'"), last.problem
            assert last.position == len(good)

    @pytest.mark.parametrize("keep", [1024, 1024 + 512])
    def test_a_tar_that_ends_between_two_members_is_cut_off_too(self, keep: int) -> None:
        """The empty blocks at its end alone show that a tar is whole."""
        content = tar({"a.png": b"1", "b.png": b"2"})
        *good, last = listed(content[:keep])
        assert len(good) == 1
        assert last.problem_reason == SOURCE_INCOMPLETE

    def test_a_damaged_header_is_no_silent_end(self) -> None:
        content = bytearray(tar({"a.png": b"1", "b.png": b"2", "c.png": b"3"}))
        content[1024:1034] = b"\x07" * 10
        good, last = listed(bytes(content))
        assert "a.png" in good.uri
        assert last.problem_reason == SOURCE_INCOMPLETE
        assert "a header is damaged" in last.problem

    @pytest.mark.parametrize(("content", "name"), [(b"", "x.tar"), (b"no tar" * 500, "x.tar"), (b"no gzip", "x.tgz")])
    def test_what_is_no_tar_is_refused_as_a_whole(self, content: bytes, name: str) -> None:
        with pytest.raises(InvalidArgument, match=r"x\.t.* is not a tar file") as refused:
            listed(content, name)
        assert refused.value.reason == "ARCHIVE_INVALID"

    def test_a_tar_without_members_holds_nothing(self) -> None:
        assert listed(tar({})) == []

    def test_listing_may_be_interrupted(self) -> None:
        def stop() -> None:
            raise InterruptedError

        stream = io.BytesIO(tar({"a.png": b"1"}))
        with pytest.raises(InterruptedError):
            list(list_archive(stream, "x.tar", URI, check=stop))


class TestMembers:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        members = {"set/1.png": b"one", "set/2.png": b"two", "set/large.png": b"x" * 200, "set/empty.png": b""}
        (folder / "shard.tar").write_bytes(tar(members))
        (folder / "shard.tgz").write_bytes(tar(members, compressed=True))
        (tmp_path / "outside.tar").write_bytes(tar({"a.png": b"secret"}))
        (folder / "out.tar").symlink_to(tmp_path / "outside.tar")
        return folder

    @pytest.fixture
    def reader(self, folder: Path, tmp_path: Path) -> Reader:
        return Reader(Artifacts((tmp_path / "artifacts").as_uri()), [folder], max_bytes=100)

    @pytest.mark.parametrize("name", ["shard.tar", "shard.tgz"])
    def test_a_member_is_read_by_its_uri_alone(self, reader: Reader, folder: Path, name: str) -> None:
        uri = (folder / name).as_uri()
        assert reader.read(member_uri("set/2.png", uri)) == b"two"
        assert reader.read(member_uri("set/1.png", uri)) == b"one"
        for member, reason in (("set/3.png", "SOURCE_NOT_FOUND"), ("set/large.png", "IMAGE_TOO_LARGE"), ("set/empty.png", "IMAGE_EMPTY")):  # fmt: skip  # noqa: E501
            with pytest.raises(LookalikeError) as refused:
                reader.read(member_uri(member, uri))
            assert refused.value.reason == reason

    def test_the_uri_is_fsspecs_own(self, folder: Path) -> None:
        with fsspec.open(member_uri("set/2.png", (folder / "shard.tar").as_uri())) as stream:
            assert stream.read() == b"two"

    def test_an_archive_written_anew_is_not_read_as_the_old_one(self, reader: Reader, folder: Path) -> None:
        path = folder / "shard.tar"
        _, second, *_ = list_archive(path.open("rb"), path.name, path.as_uri())
        for members in ({"a.png": b"other", "b.png": b"than before"}, {"set/1.png": b"one", "set/9.png": b"two"}, {}):
            path.write_bytes(tar(members))
            with pytest.raises(FailedPrecondition) as refused:
                reader.read(second.uri, offset=second.offset, size_bytes=second.size_bytes)
            assert refused.value.reason == "SOURCE_CHANGED"
        path.write_bytes(tar({"set/2.png": b"moved"}))
        assert reader.read(second.uri) == b"moved", "by its name it is found all the same"

    def test_the_guard_is_the_archives(self, reader: Reader, folder: Path, tmp_path: Path) -> None:
        for archive in (tmp_path / "outside.tar", folder / "out.tar", folder / ".." / "outside.tar"):
            with pytest.raises(FailedPrecondition) as refused:
                reader.read(f"tar://a.png::file://{archive}")
            assert refused.value.reason == "SOURCE_FORBIDDEN"
        with pytest.raises(NotFound):
            reader.read(member_uri("a.png", (folder / "none.tar").as_uri()))
        for uri in ("tar://a.png", "tar://::file:///x.tar", f"tar://a.png::tar://b.tar::{(folder / 'shard.tar').as_uri()}"):
            with pytest.raises(LookalikeError):
                reader.read(uri)

    def test_a_file_that_is_no_tar_says_so(self, reader: Reader, folder: Path) -> None:
        (folder / "x.tar").write_text(json.dumps({}) * 1000)
        with pytest.raises(InvalidArgument, match="is not a tar file"):
            reader.read(member_uri("a.png", (folder / "x.tar").as_uri()))
