"""What may be read and what not, and artifacts that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lookalike.errors import BadImage, FailedPrecondition, InvalidArgument, LookalikeError, NotFound, Unavailable
from lookalike.sources import Artifacts, Reader, Roots
from tests.servers.processes import free_port
from tests.servers.s3 import forget_connections
from tests.unit.lookalike.full_disk import FullArtifacts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.png").write_bytes(b"picture")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return root


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts((tmp_path / "artifacts").as_uri())


@pytest.fixture
def full(tmp_path: Path) -> FullArtifacts:
    return FullArtifacts((tmp_path / "full").as_uri())


@pytest.fixture
def reader(root: Path, artifacts: Artifacts) -> Reader:
    return Reader(artifacts, [root], max_bytes=100)


class TestReading:
    def test_files_inside_a_root_are_read_by_path_and_by_uri(self, reader: Reader, root: Path) -> None:
        assert reader.read(str(root / "a.png")) == b"picture"
        assert reader.read((root / "a.png").as_uri()) == b"picture"
        assert reader.read("file://localhost" + str(root / "a.png")) == b"picture"
        (root / "in.png").symlink_to(root / "a.png")
        assert reader.read(str(root / "in.png")) == b"picture"

    def test_nothing_outside_the_roots_is_read(self, reader: Reader, root: Path, tmp_path: Path) -> None:
        (root / "out.png").symlink_to(tmp_path / "secret.png")
        (root / "up").symlink_to(tmp_path)
        (tmp_path / "root2").mkdir()
        (tmp_path / "root2" / "a.png").write_bytes(b"x")
        for path in ("../secret.png", "out.png", "up/secret.png", "../root2/a.png", "nothing/../../secret.png"):
            with pytest.raises(FailedPrecondition) as refused:
                reader.read(f"{root}/{path}")
            assert refused.value.reason == "SOURCE_FORBIDDEN", path
        with pytest.raises(FailedPrecondition):
            reader.read(f"file://{root}/%2e%2e/secret.png")

    def test_without_roots_no_file_is_read(self, artifacts: Artifacts, root: Path) -> None:
        with pytest.raises(FailedPrecondition, match="LOOKALIKE_SOURCE_ROOTS"):
            Reader(artifacts, []).read(str(root / "a.png"))

    @pytest.mark.parametrize("uri", ["ftp://host/x.png", "gs://b/x.png", "data://x"])
    def test_other_schemes_are_named_and_refused(self, reader: Reader, uri: str) -> None:
        with pytest.raises(InvalidArgument, match="artifact://, file://, http://") as refused:
            reader.read(uri)
        assert refused.value.reason == "SOURCE_SCHEME_UNSUPPORTED"

    @pytest.mark.parametrize("uri", ["relative.png", "", "file://host/x.png", "file:///a%00b.png"])
    def test_what_is_no_path_is_refused(self, reader: Reader, uri: str) -> None:
        with pytest.raises(InvalidArgument):
            reader.read(uri)

    def test_missing_large_empty_and_strange_files_have_their_own_reasons(self, reader: Reader, root: Path) -> None:
        (root / "large.png").write_bytes(b"x" * 101)
        (root / "empty.png").touch()
        os.mkfifo(root / "pipe.png")
        (root / "folder.png").mkdir()
        (root / "dangling.png").symlink_to(root / "nowhere")
        (root / "loop.png").symlink_to(root / "loop.png")
        reasons = {
            "no.png": "SOURCE_NOT_FOUND",
            "a.png/b.png": "SOURCE_NOT_FOUND",
            "dangling.png": "SOURCE_NOT_FOUND",
            "large.png": "IMAGE_TOO_LARGE",
            "empty.png": "IMAGE_EMPTY",
            "pipe.png": "SOURCE_UNREADABLE",
            "folder.png": "SOURCE_UNREADABLE",
            "loop.png": "SOURCE_UNREADABLE",
            "x" * 300 + ".png": "SOURCE_UNREADABLE",
        }
        for name, reason in reasons.items():
            with pytest.raises(LookalikeError) as refused:
                reader.read(str(root / name))
            assert refused.value.reason == reason, name

    def test_originals_are_read_and_their_limits_hold(self, reader: Reader, artifacts: Artifacts) -> None:
        artifacts.write("originals/ab/abc", b"content")
        artifacts.write("originals/ab/large", b"x" * 101)
        assert reader.read("artifact://originals/ab/abc") == b"content"
        with pytest.raises(BadImage, match="larger than 100"):
            reader.read("artifact://originals/ab/large")
        with pytest.raises(NotFound) as missing:
            reader.read("artifact://originals/ab/none")
        assert missing.value.reason == "SOURCE_NOT_FOUND"
        for path in ("../secret.png", "a/../../secret.png", "/etc/hostname", ""):
            with pytest.raises(InvalidArgument):
                reader.read(f"artifact://{path}")


class TestRoots:
    def test_a_request_is_checked_by_its_text_where_the_files_are_elsewhere(self, tmp_path: Path) -> None:
        roots = Roots([tmp_path / "not-here"])
        assert roots.check(f"{tmp_path}/not-here/x/../y") == tmp_path / "not-here" / "y"
        with pytest.raises(FailedPrecondition):
            roots.check(f"{tmp_path}/not-here/../y")

    def test_a_root_that_is_a_link_counts_by_both_names(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        roots = Roots([tmp_path / "link"])
        assert roots.check(f"{tmp_path}/link/a")
        assert roots.check(f"{tmp_path}/real/a")
        assert roots.resolve(f"{tmp_path}/link/a") == tmp_path / "real" / "a"


@pytest.mark.parametrize("kind", ["file", "memory"])
class TestArtifacts:
    @pytest.fixture
    def files(self, kind: str, tmp_path: Path) -> Artifacts:
        return Artifacts(tmp_path.as_uri() if kind == "file" else f"memory://{tmp_path.name}")

    def test_what_is_written_is_read_listed_and_deleted(self, files: Artifacts) -> None:
        files.write("jobs/1/a", b"one")
        files.write("jobs/1/a", b"two")
        files.write("jobs/1/b", b"", durable=False)
        files.settle()
        assert files.read("jobs/1/a") == b"two"
        assert files.read("jobs/1/a", max_bytes=1) == b"tw", "one byte more than allowed, to show that it is too long"
        assert files.exists("jobs/1/b")
        assert files.names("jobs/1") == ["a", "b"]
        files.delete("jobs/1/b")
        files.delete("jobs/1/b")
        assert not files.exists("jobs/1/b")
        files.delete_tree("jobs/1")
        files.delete_tree("jobs/1")
        assert files.names("jobs/1") == []
        with pytest.raises(NotFound):
            files.read("jobs/1/a")

    def test_paths_that_leave_the_folder_are_refused(self, files: Artifacts) -> None:
        for path in ("../x", "a/../../x", "/x", "a//b", ".", ""):
            with pytest.raises(InvalidArgument):
                files.write(path, b"x")


def test_a_file_is_there_only_once_it_is_committed(artifacts: Artifacts) -> None:
    writer = artifacts.open_write("jobs/2/a")
    writer.stream.write(b"half")
    assert not artifacts.exists("jobs/2/a")
    writer.discard()
    assert not artifacts.exists("jobs/2/a")
    assert artifacts.names("jobs/2") == []
    writer = artifacts.open_write("jobs/2/a")
    writer.stream.write(b"whole")
    writer.commit()
    writer.discard()
    assert artifacts.read("jobs/2/a") == b"whole"


def test_a_disk_that_fails_is_unavailable(artifacts: Artifacts, tmp_path: Path) -> None:
    """/proc/self/mem opens and cannot be read, as a file on a broken disk."""
    artifacts.write("whole", b"x")
    (tmp_path / "artifacts" / "broken").symlink_to("/proc/self/mem")
    with pytest.raises(Unavailable, match="artifacts is unavailable"):
        artifacts.read("broken")
    with pytest.raises(Unavailable, match="Input/output error"), artifacts.open_read("whole"):
        raise OSError(errno.EIO, "Input/output error")


def test_a_full_disk_is_unavailable_and_leaves_nothing(full: FullArtifacts, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No space left on device"):
        full.write("jobs/1/a", b"x" * 100_000)
    with pytest.raises(Unavailable, match="No space left on device"):
        full.write("jobs/1/a", b"few: they fail only when they are flushed")
    assert list((tmp_path / "full" / "jobs" / "1").iterdir()) == []


def test_where_originals_and_thumbnails_lie() -> None:
    sha256 = "ab" * 32
    assert Artifacts.original_uri(sha256) == f"artifact://originals/ab/{sha256}"
    assert Artifacts.thumbnail_path(sha256) == f"thumbnails/ab/{sha256}.jpg"


def test_a_url_that_names_no_file_system_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="artifacts_url"):
        Artifacts("nonsense://x")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Artifacts]:
    """Artifacts in a bucket of a server that is away, asked once and without credentials."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forget_connections()
    yield Artifacts("s3://bucket/artifacts")
    forget_connections()


def test_a_bucket_that_cannot_be_entered_is_unavailable(bucket: Artifacts) -> None:
    for call in (bucket.read, bucket.exists, bucket.stamp, bucket.names, bucket.delete):
        with pytest.raises(Unavailable, match="credentials"):
            call("a")
    with pytest.raises(Unavailable, match="credentials"):
        bucket.write("a", b"x")


def test_a_bucket_whose_server_is_away_is_unavailable(bucket: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    forget_connections()
    away = Artifacts("s3://bucket/artifacts")
    with pytest.raises(Unavailable, match="connect"):
        away.read("a")
    with pytest.raises(Unavailable, match="connect"):
        away.write("a", b"x")


def test_a_file_system_that_can_only_be_read_says_so() -> None:
    with pytest.raises(FailedPrecondition, match="can only be read") as refused:
        Artifacts("https://127.0.0.1:1/artifacts").write("a", b"x")
    assert refused.value.reason == "ARTIFACTS_READ_ONLY"


def test_a_file_in_the_place_of_the_folder_is_no_missing_artifact(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for url in ((tmp_path / "file").as_uri(), (tmp_path / "file" / "below").as_uri()):
        with pytest.raises(Unavailable, match=r"the folder '.*' cannot be made"):
            Artifacts(url).write("a", b"x")
