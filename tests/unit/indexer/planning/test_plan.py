"""What a source becomes: the manifest in the artifacts, whatever the source looks like."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.interruption import Interruption
from indexer.planning.plan import Plan, make_plan
from indexer.planning.sources import Sources
from lookalike.errors import LookalikeError
from lookalike.items import INCOMPLETE_REASONS, Item, member_uri
from lookalike.jobs.leases import PLAN, Lease
from lookalike.jobs.manifest import read_chunk
from lookalike.jobs.uploads import Uploads
from lookalike.records.job import Counts, Job
from lookalike.records.job_state import JobState
from lookalike.records.source import ArchiveSource, FolderSource, ManifestSource
from lookalike.sources import Artifacts, Reader
from tests.servers.s3 import Bucket
from tests.unit.lookalike.tar_files import tar

SourceKind = Literal["folder", "manifest", "archive"]
_SOURCES = {"folder": FolderSource, "manifest": ManifestSource, "archive": ArchiveSource}


@dataclass
class Planning:
    """A folder `data` that may be read, and artifacts."""

    folder: Path
    heard: list[int] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)

    @property
    def artifacts(self) -> Artifacts:
        return Artifacts((self.folder / "artifacts").as_uri())

    def put(self, name: str, content: str | bytes) -> str:
        """A file in `data`; its path."""
        path = self.folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def items(self, kind: SourceKind, uri: str) -> list[Item]:
        """What the manifest holds."""
        plan = self.plan(kind, uri)
        return [item for chunk in range(plan.chunks) for item in read_chunk(self.artifacts, plan.manifest, chunk)]

    def refusal(self, kind: SourceKind, uri: str) -> LookalikeError:
        with pytest.raises(LookalikeError) as refused:
            self.plan(kind, uri)
        assert self.artifacts.names("jobs/job") == [], "nothing is left behind"
        return refused.value

    def plan(self, kind: SourceKind, uri: str) -> Plan:
        job = Job(
            "job", "products", _SOURCES[kind](uri), JobState.PLANNING, Counts(), {}, 0, 0, 1, "r", "", datetime.now(UTC), None,
        )  # fmt: skip
        interruption = Interruption(threading.Event(), Lease("job", PLAN, "owner", 1))
        reader, unused = Reader(self.artifacts, [self.folder / "data", *self.roots]), cast("Any", None)
        sources = Sources(reader, Uploads(self.artifacts), unused, unused, unused)
        return make_plan(self.artifacts, job, sources.items(job, interruption), interruption, self.heard.append)


@pytest.fixture
def planning(tmp_path: Path) -> Planning:
    (tmp_path / "data").mkdir()
    return Planning(tmp_path)


def test_a_plan_says_how_far_it_is(planning: Planning) -> None:
    uri = planning.put("m.jsonl", "".join(json.dumps({"uri": f"{n}.png"}) + "\n" for n in range(9000)))
    assert planning.plan("manifest", uri).submitted == 9000
    assert planning.heard == sorted(planning.heard)
    assert len(planning.heard) >= 2
    assert planning.heard[-1] <= 9000


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, planning: Planning) -> Place:
    """The same files in a folder and in a bucket of a real S3 server."""
    if request.param == "file":
        return Place((planning.folder / "data").as_uri(), planning.put)
    bucket: Bucket = request.getfixturevalue("s3")
    planning.roots.append(f"{bucket.url}/data")
    return Place(f"{bucket.url}/data", lambda name, content: bucket.put(f"data/{name}", content))


@dataclass
class Place:
    uri: str
    write: Callable[[str, bytes], object]


class TestEverywhere:
    def test_a_folder(self, planning: Planning, place: Place) -> None:
        for name in ("b/2.png", "a.png", "notes.txt", ".hidden/x.png", "b/c/3.jpg"):
            place.write(name, b"x")
        assert [item.uri for item in planning.items("folder", place.uri)] == [
            f"{place.uri}/{name}" for name in ("a.png", "b/2.png", "b/c/3.jpg")
        ]
        plan = planning.plan("folder", place.uri)
        assert (plan.submitted, plan.left_out, plan.unidentified) == (4, {"hidden": 1}, 0)

    def test_a_folder_of_nothing_but_what_is_left_out_holds_nothing(self, planning: Planning, place: Place) -> None:
        for name in (".hidden/x.png", "@eaDir/y.png", "@eaDir/z.png"):
            place.write(name, b"x")
        refusal = planning.refusal("folder", place.uri)
        assert refusal.reason == "SOURCE_EMPTY"
        assert "what it has was left out (hidden 1, system_file 2)" in refusal.message

    @pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "txt"])
    def test_a_manifest_whose_paths_are_taken_from_its_own_folder(self, planning: Planning, place: Place, suffix: str) -> None:
        parquet = io.BytesIO()
        pq.write_table(pa.table({"uri": ["a b.png", "http://host/x.png"]}), parquet)
        contents = {
            "csv": b"uri\na b.png\nhttp://host/x.png\n",
            "jsonl": b'{"uri": "a b.png"}\n{"uri": "http://host/x.png"}\n',
            "parquet": parquet.getvalue(),
            "txt": b"a b.png\r\n\r\nhttp://host/x.png",
        }
        place.write(f"lists/m.{suffix}", contents[suffix])
        space = "%20" if place.uri.startswith("file") else " "
        assert [(item.uri, item.problem) for item in planning.items("manifest", f"{place.uri}/lists/m.{suffix}")] == [
            (f"{place.uri}/lists/a{space}b.png", ""),
            ("http://host/x.png", ""),
        ]

    @pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
    def test_archives_are_read_one_by_one_and_of_compressed_ones_the_pictures_are_kept(
        self, planning: Planning, place: Place, suffix: str
    ) -> None:
        for number in (1, 2):
            members = {"1.json": b'{"n": %d}' % number, "1.png": b"picture %d" % number, "2.png": b""}
            place.write(f"shards/{number}.{suffix}", tar(members, compressed=suffix != "tar"))
        place.write("shards/notes.txt", b"")
        items = planning.items("archive", f"{place.uri}/shards")
        assert [item.position for item in items] == list(range(4))
        assert [item.metadata for item in items if not item.problem and item.metadata] == [{"n": 1}, {"n": 2}]
        reader = Reader(planning.artifacts, [planning.folder / "data", *planning.roots])
        for item, number in ((items[0], 1), (items[2], 2)):
            named = member_uri("1.png", f"{place.uri}/shards/{number}.{suffix}")
            assert (item.origin or item.uri) == named
            assert item.uri.startswith("artifact://" if suffix == "tar.gz" else "tar://")
            assert reader.read(item.uri, offset=item.offset, size_bytes=item.size_bytes) == b"picture %d" % number
            assert reader.read(named) == b"picture %d" % number, "what is stored can be read again"
        alone = planning.items("archive", f"{place.uri}/shards/1.{suffix}")
        assert [item.id for item in alone] == [item.id for item in items[:2]], "ids do not depend on how a shard was named"

    @pytest.mark.parametrize("kind", ["folder", "manifest", "archive"])
    def test_a_source_that_is_empty_or_missing_fails_by_name(self, planning: Planning, place: Place, kind: SourceKind) -> None:
        place.write("empty/notes.md", b"")
        place.write("m.csv", b"uri\n")
        place.write("t.tar", tar({}))
        empty = {"folder": "empty", "manifest": "m.csv", "archive": "t.tar"}[kind]
        assert planning.refusal(kind, f"{place.uri}/{empty}").reason == "SOURCE_EMPTY"
        missing = planning.refusal(kind, f"{place.uri}/none{Path(empty).suffix}")
        # A prefix of an object store is there as soon as something lies under it.
        assert missing.reason == "SOURCE_EMPTY" if kind == "folder" and place.uri.startswith("s3") else "SOURCE_NOT_FOUND"


class TestBadSources:
    def test_a_shard_cut_off_gives_what_is_whole_and_the_next_one_goes_on(self, planning: Planning) -> None:
        whole = tar({f"{n}.png": os.urandom(2000) for n in range(10)})
        planning.put("shards/1.tar", whole[: 4 * 2560 + 1000])
        planning.put("shards/2.tar", b"no tar at all" * 100)
        planning.put("shards/3.tgz", tar({"a.png": b"x" * 5000}, compressed=True)[:-30])
        planning.put("shards/4.tar", tar({"last.png": b"x"}))
        (planning.folder / "data" / "shards" / "5.tar").symlink_to("/etc/hostname")
        items = planning.items("archive", str(planning.folder / "data" / "shards"))
        broken = [item for item in items if item.problem]
        assert [item.uri.rpartition("/")[2] for item in broken] == ["1.tar", "2.tar", "3.tgz", "5.tar"]
        assert all(item.problem_reason in INCOMPLETE_REASONS for item in broken)
        assert broken[0].problem.startswith("1.tar breaks off in '4.png'")
        assert any("last.png" in item.uri for item in items)
        assert [item.position for item in items] == list(range(len(items)))

    def test_an_archive_of_another_kind_is_refused(self, planning: Planning) -> None:
        for name in ("x.zip", "x.tar"):
            error = planning.refusal("archive", planning.put(name, b"PK" * 1000))
            assert error.reason == "ARCHIVE_INVALID"

    def test_a_bucket_that_is_not_there_is_named(self, planning: Planning, s3: Bucket) -> None:
        planning.roots.append("s3://")
        assert planning.refusal("folder", "s3://no-such-bucket/x/").reason == "SOURCE_NOT_FOUND"

    def test_a_manifest_of_which_a_part_is_broken_lists_the_rest(self, planning: Planning) -> None:
        lines = [f'{{"uri": "{n}.png"}}' if n % 20 else "{broken" for n in range(2000)]
        items = planning.items("manifest", planning.put("m.jsonl", "\n".join(lines)))
        assert sum(bool(item.problem) for item in items) == 100
        assert [item.position for item in items] == list(range(2000))

    def test_a_sub_folder_that_cannot_be_read_is_an_item_that_says_so(
        self, planning: Planning, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        planning.put("a.png", b"x")
        planning.put("closed/b.png", b"x")
        scan = os.scandir

        def closed(path: str) -> object:
            if str(path).endswith("closed"):  # Root may read everything, so that permission cannot be taken from it.
                raise PermissionError(13, "Permission denied")
            return scan(path)

        monkeypatch.setattr(os, "scandir", closed)
        good, bad = planning.items("folder", str(planning.folder / "data"))
        assert good.uri.endswith("a.png")
        assert bad.problem == "the folder cannot be read: Permission denied"
        assert bad.problem_reason in INCOMPLETE_REASONS

    def test_a_folder_of_very_many_is_sorted_in_a_file(self, planning: Planning, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lookalike.listing.folders._SORTED_IN_MEMORY", 10)
        names = [os.fsdecode(b"latin-\xe9.png"), *(f"{n:03d}.png" for n in range(0, 100, 3)), "ä.png", "a/x.png"]
        for name in reversed(names):
            planning.put(name, b"x")
        monkeypatch.setattr("lookalike.listing.folders._SORTED_IN_MEMORY", 10)
        many = planning.items("folder", str(planning.folder / "data"))
        monkeypatch.setattr("lookalike.listing.folders._SORTED_IN_MEMORY", 1000)
        assert many == planning.items("folder", str(planning.folder / "data"))
        assert len(many) == len(names)
