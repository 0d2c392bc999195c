"""The one function that makes jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from lookalike.errors import FailedPrecondition, InvalidArgument, LookalikeError, NotFound, Unavailable
from lookalike.jobs.creation import create_ingest_job, create_job_of_json
from lookalike.jobs.leases import PLAN, Leases, LeaseSettings
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.queue import FIRST_QUEUE, KEY_PREFIX, QUEUE, TaskQueue
from lookalike.jobs.stored_job import moves_as_lua, source_of, source_text
from lookalike.jobs.uploads import Uploads
from lookalike.records.collection import Collection
from lookalike.records.job import CreateJob, Job, JobOptions, NearDuplicatePolicy
from lookalike.records.job_state import MOVES, JobState
from lookalike.records.source import (
    ArchiveSource,
    CollectionSource,
    FailuresSource,
    FolderSource,
    JobSource,
    ManifestSource,
    UploadItem,
    UploadSource,
)
from lookalike.sources import Artifacts, Roots
from tests.servers.processes import until
from tests.unit.indexer.fakes import a_collection


@dataclass
class Making:
    """Everything that `create_ingest_job` is given."""

    ledger: Ledger
    queue: TaskQueue
    uploads: Uploads
    roots: Roots
    collections: dict[str, Collection] = field(default_factory=lambda: {"products": a_collection()})

    def make(self, request: CreateJob) -> Job:
        return create_ingest_job(self.ledger, self._get, self.queue, self.uploads, self.roots, request)

    def _get(self, name: str) -> Collection:
        if name not in self.collections:
            raise NotFound("collection", name)
        return self.collections[name]

    def queued(self) -> int:
        with self.ledger.connection.commands() as client:
            return sum(int(client.llen(f"{KEY_PREFIX}{name}")) for name in (FIRST_QUEUE, QUEUE))


@pytest.fixture
def making(redis_db: str, tmp_path: Path) -> Iterator[Making]:
    queue = TaskQueue(redis_db)
    artifacts = Artifacts(tmp_path.as_uri())
    making = Making(connect_ledger(redis_db), queue, Uploads(artifacts), Roots(["/data", "https://host/"]))
    yield making
    queue.close()
    making.ledger.close()


FOLDER = FolderSource("/data/products")


def test_a_job_is_written_down_and_its_task_sent_once(making: Making) -> None:
    job = making.make(CreateJob("products", FOLDER, "r1"))
    assert (job.state, job.collection_uid, making.queued()) == (JobState.PENDING, "uid 1", 1)
    assert making.make(CreateJob("products", FOLDER, "r1")) == job
    assert making.queued() == 1
    with pytest.raises(FailedPrecondition):
        making.make(CreateJob("products", FolderSource("/data"), "r1"))


def test_without_a_request_id_every_request_makes_a_job(making: Making) -> None:
    jobs = [making.make(CreateJob("products", FOLDER)) for _ in range(2)]
    assert jobs[0].id != jobs[1].id
    assert jobs[0].request_id != jobs[1].request_id


def test_near_duplicates_are_looked_for_in_no_collection_of_histograms_alone(making: Making) -> None:
    whole = a_collection()
    making.collections["products"] = replace(whole, spaces=whole.spaces[:1])
    for policy in (NearDuplicatePolicy.SKIP, NearDuplicatePolicy.LINK):
        with pytest.raises(InvalidArgument) as refused:
            making.make(CreateJob("products", FOLDER, options=JobOptions(policy)))
        assert refused.value.field == "near_duplicates.policy"
    assert making.make(CreateJob("products", FOLDER)).state is JobState.PENDING


def test_a_repeated_request_gets_its_job_even_when_the_collection_is_gone(making: Making) -> None:
    job = making.make(CreateJob("products", FOLDER, "r1"))
    making.collections.clear()
    assert making.make(CreateJob("products", FOLDER, "r1")).id == job.id
    with pytest.raises(NotFound):
        making.make(CreateJob("products", FOLDER, "r2"))


class AwayQueue(TaskQueue):
    """Raises at once what the queue raises after two seconds where no broker answers."""

    def __init__(self) -> None:
        pass

    def send_plan(self, job_id: str) -> None:
        raise Unavailable("broker", "nothing answers")


def test_a_task_that_cannot_be_sent_is_sent_by_the_reconciler_later(making: Making) -> None:
    broken = Making(making.ledger, AwayQueue(), making.uploads, making.roots)
    job = broken.make(CreateJob("products", FOLDER, "r1"))
    assert job.state is JobState.PENDING
    assert making.ledger.active() == [job.id]
    again, _ = making.ledger.create("products", "uid 1", FOLDER, "r2", send_grace_s=0.05)
    leases = Leases(making.ledger, LeaseSettings())
    until(lambda: leases.due(again.id).units == (PLAN,), "its plan is due")


def test_a_queue_that_is_away_is_unavailable_within_seconds() -> None:
    with pytest.raises(Unavailable, match="broker"):
        TaskQueue("redis://127.0.0.1:1/0").send_plan("x")


@pytest.mark.parametrize(
    ("request_", "field_", "reason"),
    [
        (CreateJob("No", FOLDER), "collection", "INVALID_ARGUMENT"),
        (CreateJob("", FOLDER), "collection", "INVALID_ARGUMENT"),
        (CreateJob("other", FOLDER), None, "COLLECTION_NOT_FOUND"),
        (CreateJob("products", FOLDER, "a b"), "request_id", "INVALID_ARGUMENT"),
        (CreateJob("products", FolderSource("")), "source.folder.uri", "INVALID_ARGUMENT"),
        (CreateJob("products", FolderSource("/data/" + "x" * 3000)), "source.folder.uri", "INVALID_ARGUMENT"),
        (CreateJob("products", FolderSource("/etc")), "source.folder.uri", "SOURCE_FORBIDDEN"),
        (CreateJob("products", FolderSource("/data/../etc")), "source.folder.uri", "SOURCE_FORBIDDEN"),
        (CreateJob("products", FolderSource("s3://bucket/x")), "source.folder.uri", "SOURCE_FORBIDDEN"),
        (CreateJob("products", FolderSource("gs://bucket/x")), "source.folder.uri", "SOURCE_SCHEME_UNSUPPORTED"),
        (
            CreateJob("products", ManifestSource("https://host/x.csv")),
            "source.manifest.uri",
            "SOURCE_SCHEME_UNSUPPORTED",
        ),
        (CreateJob("products", FolderSource("photos")), "source.folder.uri", "INVALID_ARGUMENT"),
        (CreateJob("products", FolderSource("http://[bad")), "source.folder.uri", "INVALID_ARGUMENT"),
        (CreateJob("products", ArchiveSource("/etc/x.tar")), "source.archive.uri", "SOURCE_FORBIDDEN"),
        (CreateJob("products", ManifestSource("/data/x.xlsx")), "source.manifest.uri", "INVALID_ARGUMENT"),
        (CreateJob("products", UploadSource("0" * 16)), "source.upload.upload_id", "UPLOAD_NOT_FOUND"),
    ],
)
def test_bad_requests_are_refused_and_leave_nothing(
    making: Making, request_: CreateJob, field_: str | None, reason: str
) -> None:
    with pytest.raises(LookalikeError) as refused:
        making.make(request_)
    assert (refused.value.field, refused.value.reason) == (field_, reason)
    assert making.ledger.active() == []
    assert making.queued() == 0


def test_an_upload_is_for_the_collection_it_was_meant_for(making: Making) -> None:
    making.collections["other"] = a_collection("other", "uid 2")
    upload = making.uploads.begin("products")
    upload.add(UploadItem("a", content=b"x"))
    upload_id = upload.finish().id
    assert making.make(CreateJob("products", UploadSource(upload_id))).source == UploadSource(upload_id)
    with pytest.raises(InvalidArgument, match="meant for collection 'products'"):
        making.make(CreateJob("other", UploadSource(upload_id)))


class TestJson:
    def test_the_json_form_of_the_contract_is_taken_in_either_spelling(self) -> None:
        expected = CreateJob("products", FolderSource("/data", labels_from_folders=True), "r1")
        folder = {"uri": "/data", "labels_from_folders": True}
        request = {"collection": "products", "request_id": "r1", "source": {"folder": folder}}
        assert create_job_of_json(request) == expected
        request = {
            "collection": "products",
            "requestId": "r1",
            "source": {"folder": {"uri": "/data", "labelsFromFolders": True}},
        }
        assert create_job_of_json(request) == expected
        for name, kind in (("manifest", {"uri": "/m.csv"}), ("upload", {"upload_id": "/m.csv"})):
            job = create_job_of_json({"collection": "c", "request_id": "r", "source": {name: kind}})
            assert (job.source.kind, job.source.place) == (name, "/m.csv")

    @pytest.mark.parametrize("kind", ["folder", "archive"])
    def test_what_is_to_be_left_out_is_taken_checked_and_kept(self, kind: Literal["folder", "archive"]) -> None:
        named = {"uri": "/data", "exclude": ["*.gif", "drafts/"], "include_hidden": True}
        source = create_job_of_json({"collection": "c", "request_id": "r", "source": {kind: named}}).source
        made = {"folder": FolderSource, "archive": ArchiveSource}[kind]
        assert source == made("/data", exclude=("*.gif", "drafts/"), include_hidden=True)
        assert source_of(source_text(source)) == source
        too_many, too_long = ["*"] * 65, ["a", "x" * 300]
        for globs, place in ((too_many, "exclude: more than 64 are given"), (too_long, r"exclude\[1\]: is 300 bytes")):
            with pytest.raises(InvalidArgument, match=rf"source\.{kind}\.{place}"):
                create_job_of_json({"collection": "c", "request_id": "r", "source": {kind: named | {"exclude": globs}}})

    @pytest.mark.parametrize(
        ("source", "text"),
        [
            (FOLDER, '{"kind":"folder","labels_from_folders":false,"uri":"/data/products"}'),
            (
                FolderSource("/d", labels_from_folders=True, exclude=("*.gif",)),
                '{"choice":{"exclude":["*.gif"],"include_hidden":false},"kind":"folder","labels_from_folders":true,"uri":"/d"}',
            ),
            (
                ArchiveSource("/d", include_hidden=True),
                '{"choice":{"exclude":[],"include_hidden":true},"kind":"archive","labels_from_folders":false,"uri":"/d"}',
            ),
            (ManifestSource("/m.csv"), '{"kind":"manifest","labels_from_folders":false,"uri":"/m.csv"}'),
            (UploadSource("u"), '{"kind":"upload","labels_from_folders":false,"uri":"u"}'),
            (FailuresSource("j"), '{"kind":"failures","labels_from_folders":false,"uri":"j"}'),
            (CollectionSource(2), '{"kind":"collection","labels_from_folders":false,"uri":"2"}'),
        ],
    )
    def test_a_source_is_kept_as_releases_before_kept_it(self, source: JobSource, text: str) -> None:
        assert source_text(source) == text
        assert source_of(text) == source

    @pytest.mark.parametrize(
        ("request_", "problem"),
        [
            ({}, "request_id: is missing"),
            ({"collection": "c", "source": {"folder": {"uri": "/x"}}}, "request_id: is missing"),
            ({"collection": "c", "request_id": "r"}, "source: is missing"),
            ({"collection": "c", "request_id": "r", "source": {}}, "source: is missing"),
            ({"collection": "c", "request_id": "r", "surce": {}}, "surce"),
            ({"collection": 3, "request_id": "r"}, "request"),
            ({"request_id": "r", "source": {"folder": {"uri": "/x"}, "manifest": {"uri": "/y"}}}, "oneof"),
            ({"request_id": "r", "source": "folder"}, "request"),
            ({"request_id": "r", "source": {"folder": {"url": "/x"}}}, "url"),
            ({"request_id": "r", "source": {"folder": {"uri": "/" * 3000}}}, "source.folder.uri: is 3,000 bytes long"),
            ({"request_id": "r" * 129, "source": {"folder": {"uri": "/x"}}}, "request_id: is 129 bytes long"),
            ({"request_id": "r", "source": {"folder": {"uri": "/\ud800"}}}, "request"),
            ({"request_id": "r", "source": {"folder": {"uri": [[[["/x"]]]]}}}, "request"),
            ({"request_id": "r", "near_duplicates": {"threshold": 1e999}, "source": {"folder": {"uri": "/x"}}}, "request"),
        ],
    )
    def test_what_is_not_a_request_is_refused(self, request_: dict[str, object], problem: str) -> None:
        with pytest.raises(InvalidArgument, match=problem):
            create_job_of_json(request_)


class TestStates:
    def test_every_move_leads_towards_an_end(self) -> None:
        ended = {state for state in JobState if state.ended}
        assert ended == {JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}
        reached = set(ended)
        for _ in JobState:
            reached |= {state for state, moves in MOVES.items() if moves & reached}
        assert reached == set(JobState)

    def test_the_scripts_are_given_the_same_table(self) -> None:
        lua = moves_as_lua()
        for state, moves in MOVES.items():
            row = lua.split(f"{state.name}={{", 1)[1].split("}", 1)[0]
            assert {name.split("=")[0] for name in row.split(", ") if name} == {move.name for move in moves}
