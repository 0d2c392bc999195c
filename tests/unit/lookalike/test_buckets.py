"""What is read from a real S3 server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lookalike.errors import FailedPrecondition, LookalikeError, Unavailable
from lookalike.items import member_uri
from lookalike.listing import Choice
from lookalike.sources import Artifacts, Reader
from lookalike.sources.opening import folder_items
from lookalike.sources.web import SOURCE_UNAVAILABLE
from tests.servers.processes import free_port
from tests.servers.s3 import Bucket, forget_connections
from tests.unit.lookalike.tar_files import tar


@pytest.fixture
def reader(s3: Bucket, tmp_path: Path) -> Reader:
    return Reader(Artifacts(tmp_path.as_uri()), [f"{s3.url}/photos/"], max_bytes=100)


def reason(reader: Reader, uri: str) -> str:
    with pytest.raises(LookalikeError) as refused:
        reader.read(uri)
    return refused.value.reason


def test_objects_are_read_by_their_keys_as_they_are(s3: Bucket, reader: Reader) -> None:
    for key in ("a.png", "späte Ernte 50% #1?.png", "a%20b.png", "deep/er/x.png"):
        assert reader.read(s3.put(f"photos/{key}", key.encode())) == key.encode()


def test_what_cannot_be_read_has_its_own_reason(s3: Bucket, reader: Reader) -> None:
    assert reason(reader, s3.put("photos/empty.png", b"")) == "IMAGE_EMPTY"
    assert reason(reader, s3.put("photos/large.png", b"x" * 101)) == "IMAGE_TOO_LARGE"
    assert reason(reader, f"{s3.url}/photos/none.png") == "SOURCE_NOT_FOUND"
    for outside in ("secret.png", "photos2/a.png"):
        assert reason(reader, s3.put(outside, b"secret")) == "SOURCE_FORBIDDEN"
    assert reason(reader, f"{s3.url}/photos/../secret.png") == "SOURCE_FORBIDDEN"
    assert reason(reader, "s3://another/photos/a.png") == "SOURCE_FORBIDDEN"


def test_credentials_that_are_wrong_or_missing_are_named(s3: Bucket, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3.put("photos/a.png")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_connections()
    with pytest.raises(FailedPrecondition, match="may not be read with the credentials that are set; set AWS_ACCESS_KEY_ID"):
        reader.read(uri)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_connections()
    with pytest.raises(FailedPrecondition, match="needs credentials, and none are set") as refused:
        reader.read(uri)
    assert refused.value.reason == "SOURCE_FORBIDDEN"


def test_a_server_that_does_not_answer_is_unavailable(s3: Bucket, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forget_connections()
    assert reason(reader, f"{s3.url}/photos/a.png") == SOURCE_UNAVAILABLE


def test_a_prefix_is_listed_in_order_page_by_page(s3: Bucket, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (
        "photos/b/2.PNG",
        "photos/a.jpg",
        "photos/b/c/1.png",
        "photos/.hidden/x.png",
        "photos/notes.txt",
        "photos2/x.png",
    ):
        s3.put(key)
    files = s3.files
    pages: list[int] = []
    call = type(files).call_s3

    def two_at_a_time(self: object, method: str, **options: object) -> object:
        answer = call(self, method, MaxKeys=2, **options)
        pages.append(len(answer["Contents"]))
        return answer

    monkeypatch.setattr(type(files), "call_s3", two_at_a_time)
    for uri in (f"{s3.url}/photos", f"{s3.url}/photos/"):
        items = list(folder_items(reader.roots, reader.buckets, uri, labels_from_folders=True))
        assert [(item.uri.removeprefix(f"{s3.url}/photos/"), dict(item.metadata)) for item in items] == [
            (".hidden/x.png", {}),
            ("a.jpg", {}),
            ("b/2.PNG", {"label": "b"}),
            ("b/c/1.png", {"label": "b"}),
        ]
        assert [item.problem_reason for item in items] == ["SOURCE_HIDDEN", "", "", ""]
    chosen = Choice(("b/C/", "/a.*"), include_hidden=True)
    items = list(folder_items(reader.roots, reader.buckets, f"{s3.url}/photos", labels_from_folders=True, choice=chosen))
    assert [item.problem_reason for item in items] == ["", "SOURCE_EXCLUDED", "", "SOURCE_EXCLUDED"]
    assert len(pages) == 9
    assert max(pages) == 2


@pytest.mark.parametrize("token", [{"NextContinuationToken": "again"}, {}])
def test_a_list_of_keys_that_goes_round_is_broken_off(
    s3: Bucket, reader: Reader, monkeypatch: pytest.MonkeyPatch, token: dict[str, str]
) -> None:
    page = {"Contents": [{"Key": "photos/a.jpg"}], "IsTruncated": True, **token}
    monkeypatch.setattr(type(s3.files), "call_s3", lambda *_, **__: page)
    with pytest.raises(Unavailable, match="does not come to an end"):
        list(folder_items(reader.roots, reader.buckets, f"{s3.url}/photos", labels_from_folders=False))


def test_members_of_an_archive_are_read_by_range(s3: Bucket, reader: Reader) -> None:
    uri = s3.put("photos/shard.tar", tar({"1.png": b"one", "2.png": b"two"}))
    assert reader.read(member_uri("2.png", uri)) == b"two"
    assert reader.read(member_uri("1.png", uri), offset=512, size_bytes=3) == b"one"
    assert reason(reader, member_uri("3.png", uri)) == "SOURCE_NOT_FOUND"


def test_a_bucket_says_how_old_files_are_and_keeps_those_that_are_written_again(s3: Bucket) -> None:
    artifacts = Artifacts(f"{s3.url}/artifacts")
    uri = artifacts.keep_original(b"coat")
    path = uri.removeprefix("artifact://")
    folder, _, name = path.rpartition("/")
    (entry,) = artifacts.entries(folder)
    now = datetime.now(UTC)
    assert entry.name == name
    assert abs(now - entry.modified) < timedelta(minutes=5)
    assert not artifacts.delete_unless_newer(path, now - timedelta(days=1))
    assert artifacts.read(path) == b"coat"
    assert artifacts.delete_unless_newer(path, now + timedelta(days=1))
    assert artifacts.entries(folder) == []
    assert artifacts.entries("nowhere") == []
