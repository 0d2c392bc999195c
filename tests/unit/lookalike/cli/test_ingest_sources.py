"""`lookalike ingest` with every kind of source: what the gateway is asked to read, or is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.cli import exits
from tests.unit.lookalike.cli.command import Lookalike, lookalike
from tests.unit.lookalike.fake_gateway import FakeGateway, gateway
from tests.unit.lookalike.tar_files import tar

__all__ = ["gateway", "lookalike"]


@pytest.mark.parametrize(
    ("source", "kind", "options"),
    [
        ("/data/shard-0001.tar", "archive", ()),
        ("s3://bucket/shard-0001.tar.gz", "archive", ()),
        ("/data/shards", "archive", ("--archives",)),
        ("s3://bucket/shards/", "archive", ("--archives",)),
        ("s3://bucket/photos/", "folder", ()),
        ("s3://bucket/2026.txt/", "folder", ()),
        ("file:///data/photos", "folder", ()),
        ("/data/list.parquet", "manifest", ()),
        ("/data/list.TXT", "manifest", ()),
        ("s3://bucket/list.ndjson", "manifest", ()),
        ("https://example.org/list.csv?version=7", "manifest", ()),
    ],
)
def test_in_place_every_kind_of_source_is_known_by_its_name(
    gateway: FakeGateway, lookalike: Lookalike, source: str, kind: str, options: tuple[str, ...]
) -> None:
    assert lookalike("ingest", source, "-C", "shoes", "--in-place", *options).code == exits.OK
    (request,) = gateway.seen
    assert (request.source.WhichOneof("kind"), getattr(request.source, kind).uri) == (kind, source)


@pytest.mark.parametrize(
    "source",
    ["s3://bucket/a.JPG", "https://example.org/image?id=7", "https://example.org/a.png", "tar://a.jpg::file:///data/s.tar"],
)
def test_in_place_a_single_picture_is_an_upload_of_its_uri_alone(
    gateway: FakeGateway, lookalike: Lookalike, source: str
) -> None:
    assert lookalike("ingest", source, "-C", "shoes", "--in-place").code == exits.OK
    items, request = gateway.seen
    assert [(one.item.uri, one.item.content) for one in items] == [(source, b"")]
    assert request.source.upload.upload_id == "upload-1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/data/list.csv", "--in-place", "--archives"), "--archives: /data/list.csv is neither a folder nor a prefix"),
        (("/data/a.tar", "--in-place", "--labels-from-folders"), "--labels-from-folders: /data/a.tar is not read as a folder"),
        (("/data", "--in-place", "--archives", "--labels-from-folders"), "--labels-from-folders"),
        (("s3://bucket/photos/",), "SOURCE: s3://bucket/photos/ is not on this machine; with --in-place"),
    ],
)
def test_a_source_that_does_not_fit_its_options_is_one_line(
    gateway: FakeGateway, lookalike: Lookalike, arguments: tuple[str, ...], words: str
) -> None:
    said = lookalike("ingest", *arguments, "-C", "shoes")
    assert (said.code, said.err.count("\n"), words in said.err) == (exits.INVALID, 1, True)
    assert gateway.seen == []


@pytest.mark.parametrize(("source", "kind"), [("/data/photos", "folder"), ("s3://bucket/a.tar", "archive")])
def test_in_place_the_workers_know_what_to_leave_out(
    gateway: FakeGateway, lookalike: Lookalike, source: str, kind: str
) -> None:
    options = ("--exclude", "*.gif", "--exclude", "drafts/", "--include-hidden")
    assert lookalike("ingest", source, "-C", "shoes", "--in-place", *options).code == exits.OK
    (request,) = gateway.seen
    chosen = getattr(request.source, kind)
    assert (list(chosen.exclude), chosen.include_hidden) == (["*.gif", "drafts/"], True)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("/data/list.csv", ("--in-place", "--exclude", "*.gif"), "--exclude: /data/list.csv is not read as a folder"),
        ("s3://b/a.png", ("--in-place", "--include-hidden"), "--include-hidden: s3://b/a.png is not read as a folder"),
        ("/data", ("--exclude", ""), "--exclude[0]: is empty"),
        ("/data", ("--exclude", "!a"), "--exclude[0]: begins with '!'"),
    ],
)
def test_what_cannot_be_excluded_is_one_line(
    gateway: FakeGateway, lookalike: Lookalike, source: str, options: tuple[str, ...], words: str
) -> None:
    said = lookalike("ingest", source, "-C", "shoes", *options)
    assert (said.code, words in said.err) == (exits.INVALID, True), said.err
    assert gateway.seen == []


def test_an_upload_says_what_it_leaves_out(gateway: FakeGateway, lookalike: Lookalike, tmp_path: Path) -> None:
    for name in ("a.png", "b.gif", ".c.png", "@eaDir/d.png", "e.dng"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    assert lookalike("ingest", str(tmp_path), "-C", "shoes", "--exclude", "*.gif").code == exits.OK
    (items,) = [seen for seen in gateway.seen if isinstance(seen, list)]
    sent = {request.item.uri.rpartition("/")[2]: (request.item.content, request.item.problem_reason) for request in items}
    assert sent == {
        "a.png": (b"content", ""),
        "b.gif": (b"", "SOURCE_EXCLUDED"),
        ".c.png": (b"", "SOURCE_HIDDEN"),
        "d.png": (b"", "SOURCE_SYSTEM"),
        "e.dng": (b"", "IMAGE_FORMAT_UNKNOWN"),
    }
    said = lookalike("ingest", str(tmp_path), "-C", "shoes", "--exclude", "*")
    assert (said.code, "holds no pictures except 5 that are hidden" in said.err) == (exits.INVALID, True)


def test_ingest_uploads_the_tars_of_a_folder(gateway: FakeGateway, lookalike: Lookalike, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"1.jpg": b"one", "1.json": b'{"label": "bag"}'}))
    said = lookalike("ingest", str(tmp_path), "-C", "shoes")
    assert (said.code, "--archives reads the tar files in a folder" in said.err) == (exits.INVALID, True)
    assert lookalike("ingest", str(tmp_path), "-C", "shoes", "--archives").code == exits.OK
    (items,) = [seen for seen in gateway.seen if isinstance(seen, list)]
    assert [(request.item.content, request.item.metadata.fields["label"].string_value) for request in items] == [
        (b"one", "bag")
    ]
