"""What is read here and sent, and what is sent as a problem."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.cli.sending import Reading, list_source, source_here, upload_item, upload_items
from lookalike.client import UploadItem
from lookalike.errors import InvalidArgument, LookalikeError
from lookalike.items import member_uri
from lookalike.names import MAX_IMAGE_BYTES, id_from_uri
from tests.unit.lookalike.tar_files import tar

MEMBERS = {
    "set/1.json": b'{"label": "bag"}',
    "set/1.jpg": b"one",
    "set/2.png": b"two",
    "set/2.txt": b"a coat",
    "empty.png": b"",
}


def test_what_cannot_be_read_is_a_problem_of_its_own_item_and_nothing_waits(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "b.png").touch()
    os.mkfifo(tmp_path / "c.png")
    (tmp_path / "d.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "e.png").symlink_to(tmp_path / "a.png")
    sent = [upload_item(item) for item in list_source(tmp_path)]
    assert [bool(item.content) for item in sent] == [True, False, False, False, True]
    assert [item.problem.rpartition("' ")[2] for item in sent] == [
        "",
        "is empty",
        "is not a file",
        "cannot be read: No such file or directory",
        "",
    ]


def test_a_single_pipe_is_a_problem_and_a_manifest_that_is_one_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "m.csv")
    (item,) = list_source(tmp_path / "a.png")
    assert "is not a file" in upload_item(item).problem
    with pytest.raises(InvalidArgument, match="is not a file"):
        list(list_source(tmp_path / "m.csv"))


def test_lines_whose_metadata_cannot_be_stored_are_sent_as_problems(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    lines = [f'{{"uri": "a.png", "x": {"[" * 60 + "]" * 60}}}', '{"uri": "a.png", "x": 1}']
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    first, second = (upload_item(item) for item in list_source(tmp_path / "m.jsonl"))
    assert "nested deeper" in first.problem
    assert first.metadata == {}
    assert second.content == b"picture"


def sent(source: Path, *, archives: bool = False) -> list[UploadItem]:
    """What an upload of `source` holds; as many items as were counted before it."""
    items = list(upload_items(source, Reading(archives=archives)))
    assert len(items) == sum(1 for _ in list_source(source, Reading(archives=archives)))
    return items


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz", "shard.TGZ"])
def test_the_pictures_of_a_tar_are_sent_with_what_stands_beside_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(tar(MEMBERS, compressed=not name.endswith(".tar")))
    items = sent(path)
    assert [(item.content, dict(item.metadata), item.problem) for item in items] == [
        (b"one", {"label": "bag"}, ""),
        (b"two", {"caption": "a coat"}, ""),
        (b"", {}, "is empty"),
    ]
    assert items[0].uri == member_uri("set/1.jpg", path.as_uri())
    assert items[0].id == id_from_uri(items[0].uri)


def test_all_tars_in_a_folder_are_sent_and_a_broken_one_is_a_problem_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.tar").write_bytes(tar({"1.jpg": b"one"}))
    (tmp_path / "b.tar").write_bytes(b"certainly not a tar file" * 100)
    (tmp_path / "c.tar.gz").write_bytes(tar({"2.jpg": b"two", "3.jpg": os.urandom(100_000)}, compressed=True)[:60_000])
    (tmp_path / "sub" / "d.tar").write_bytes(tar({"4.jpg": b"four"}))
    (tmp_path / "loose.jpg").write_bytes(b"not in a tar")
    items = sent(tmp_path, archives=True)
    assert [item.content for item in items if item.content] == [b"one", b"two", b"four"]
    assert [(item.problem_reason, Path(item.uri).name) for item in items if item.problem] == [
        ("SOURCE_INCOMPLETE", "b.tar"),
        ("SOURCE_INCOMPLETE", "c.tar.gz"),
    ]
    assert [item.content for item in sent(tmp_path)] == [b"not in a tar"]


def test_a_picture_in_a_tar_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"1.jpg": bytes(MAX_IMAGE_BYTES + 1), "2.jpg": b"two"}))
    large, good = sent(tmp_path / "a.tar")
    assert (large.content, large.problem_reason, good.content) == (b"", "IMAGE_TOO_LARGE", b"two")


def test_lists_of_every_kind_send_what_is_here_and_name_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    uris = ["a.png", "s3://bucket/b.png", "https://example.org/c.png"]
    (tmp_path / "list.txt").write_text("\n".join(uris))
    (tmp_path / "list.ndjson").write_text("".join(f'{{"uri": "{uri}", "year": 2019}}\n' for uri in uris))
    pq.write_table(pa.table({"uri": uris, "year": [2019] * 3}), tmp_path / "list.parquet")
    for name, metadata in (("list.txt", {}), ("list.ndjson", {"year": 2019}), ("list.parquet", {"year": 2019})):
        items = sent(tmp_path / name)
        assert [(item.content, item.uri) for item in items[1:]] == [(b"", uri) for uri in uris[1:]]
        assert [dict(item.metadata) for item in items] == [metadata] * 3
        assert (items[0].content, items[0].uri) == (b"picture", (tmp_path / "a.png").as_uri())


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.parquet").touch()
    monkeypatch.setitem(sys.modules, "lookalike.listing.tables", None)
    with pytest.raises(InvalidArgument, match=r"list\.parquet needs pyarrow .* pip install 'lookalike\[export\]'"):
        sent(tmp_path / "list.parquet")


@pytest.mark.parametrize(
    ("name", "labels", "archives", "words"),
    [
        ("a.png", True, False, "--labels-from-folders: .*a.png is not read as a folder"),
        ("a.tar", True, False, "--labels-from-folders"),
        (".", True, True, "--labels-from-folders"),
        ("a.png", False, True, "--archives: .*a.png is neither a folder of tar files nor one of them"),
        ("a.csv", False, True, "--archives"),
        ("bad.tar", False, False, "bad.tar is not a tar file"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, name: str, labels: bool, archives: bool, words: str) -> None:
    for made in ("a.png", "a.csv", "bad.tar"):
        (tmp_path / made).write_bytes(b"anything" * 100)
    (tmp_path / "a.tar").write_bytes(tar({"1.jpg": b"one"}))
    with pytest.raises(LookalikeError, match=words):
        list(list_source(tmp_path / name, Reading(labels, archives)))


def test_a_place_that_is_not_on_this_machine_is_said_to_be_for_the_workers(tmp_path: Path) -> None:
    assert source_here((tmp_path / "a b.png").as_uri()) == tmp_path / "a b.png"
    for url in ("s3://bucket/photos/", "https://example.org/a.png"):
        with pytest.raises(InvalidArgument, match="is not on this machine; with --in-place the workers read it"):
            source_here(url)


def test_a_uri_that_cannot_be_parsed_is_left_to_the_workers_and_takes_nothing_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")
    (tmp_path / "m.csv").write_text("uri\nhttp://[bad\na.png\n")
    bad, good = upload_items(tmp_path / "m.csv")
    assert (bad.uri, bad.content) == ("http://[bad", b"")
    assert good.content == b"a picture"
