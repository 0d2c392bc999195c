"""Numbers in metadata come out of every way as they went in by every other, on the whole system with each of both stores.

What no way can carry fails alone, by the path of the value, whichever way it comes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.artifacts import Artifacts
from lookalike.backup.exporting import export_collection
from lookalike.backup.importing import import_collection
from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.client import (
    ArchiveSource,
    Client,
    Consistency,
    Image,
    ImageUpdate,
    IngestOptions,
    Job,
    JobState,
    ManifestSource,
    NearDuplicatePolicy,
    UploadItem,
    UploadSource,
)
from lookalike.errors import InvalidArgument
from lookalike.local.system import LocalSystem
from lookalike.metadata import same_metadata
from lookalike.runtime.channels import open_channel
from lookalike.v1 import ingest_service_pb2 as ingest_pb
from lookalike.wire.values import metadata_message
from tests.contract.gateway_collections import TIMEOUT_S, picture, stubs
from tests.servers.stack import Stack
from tests.unit.lookalike.tar_files import tar

COLLECTION, COPY = "numbers", "numbers_copy"
STRONG = Consistency.STRONG
PLAIN: Mapping[str, object] = {
    "beyond": 2**53 + 1,
    "most": 2**63 - 1,
    "least": -(2**63),
    "seven": 7,
    "real": 7.0,
    "half": -0.5,
}
"""What a CSV can say, too."""
VALUES: Mapping[str, object] = {**PLAIN, "deep": {"list": [2**53 + 1, {"most": 2**63 - 1}, -(2**63), 7, 7.0, 1e300]}}
TEXT = json.dumps(VALUES)
BAD: Sequence[tuple[str, str]] = (
    (
        "9223372036854775808",
        "9223372036854775808 is out of range; whole numbers from -9223372036854775808 to 92233720368547758",
    ),
    ("-9223372036854775809", "-9223372036854775809 is out of range; whole numbers from -9223372036854775808 to 9223372036854"),
    ("NaN", "NaN is not a number of JSON; numbers from -1.7976931348623157e+308 to 1.7976931348623157e+308 are allowed"),
    ("-1e999", "-Infinity is not a number of JSON; numbers from -1.7976931348623157e+308 to 1.7976931348623157e+308 are al"),
)
"""JSON's texts of numbers that no way can carry, and what is said of them."""


@dataclass(frozen=True)
class System:
    """A whole system, and a collection in it that holds one image for each of the `ways` in, called by it."""

    target: str
    http: httpx.Client
    client: Client
    sources: Path
    ways: frozenset[str]

    def run(self, *arguments: str) -> int:
        return run_command(["--address", self.target, *arguments])

    def ingest(self, source: Any, options: IngestOptions = IngestOptions()) -> Job:  # noqa: B008 - frozen
        job = self.client.create_ingest_job(COLLECTION, source, options=options)
        *_, done = self.client.watch_job(job.id)
        return done

    def list_file(self, name: str, content: bytes) -> ManifestSource:
        (self.sources / name).write_bytes(content)
        return ManifestSource(str(self.sources / name))


@pytest.fixture(scope="module", params=["stack", pytest.param("milvus", marks=pytest.mark.milvus)])
def whole_system(request: pytest.FixtureRequest) -> Iterator[System]:
    """On milvus-lite, and on the real Milvus; there by those ways alone that write to the store in a way of their own."""
    if request.param == "stack":
        stack: Stack = request.getfixturevalue("stack")
        target, http_url, sources = stack.target, stack.http_url, stack.inside.sources / "numbers"
    else:
        system: LocalSystem = request.getfixturevalue("stack_on_milvus")
        target, http_url, sources = system.grpc_target, system.http_url, system.folder.path.parent / "sources" / "numbers"
    sources.mkdir()
    for number, name in enumerate(["csv", "jsonl", "parquet", "more"]):
        (sources / f"{name}.png").write_bytes(picture(number))
    with Client(target) as client, httpx.Client(base_url=f"{http_url}/v1", timeout=TIMEOUT_S) as http:
        client.create_collection(COLLECTION, model="fashion")
        made = System(
            target, http, client, sources, frozenset(WAYS_IN) - (_LISTS if request.param == "milvus" else frozenset())
        )
        for way, bring_in in WAYS_IN.items():
            if way in made.ways:
                bring_in(made, way)
        yield made
        client.delete_collection(COLLECTION)


# --- in ---


def _by_csv(system: System, way: str) -> None:
    rows = f"uri,id,{','.join(PLAIN)}\n{way}.png,{way},{','.join(map(str, PLAIN.values()))}\n"
    _indexed(system.ingest(system.list_file("list.csv", rows.encode())))


def _by_jsonl(system: System, way: str) -> None:
    line = json.dumps({"uri": f"{way}.png", "id": way, **VALUES})
    _indexed(system.ingest(system.list_file("list.jsonl", line.encode())))


def _by_parquet(system: System, way: str) -> None:
    # A list of Arrow has one type: the numbers of `deep` are in a column each.
    table = pa.table({"uri": [f"{way}.png"], "id": [way], **{key: [value] for key, value in PLAIN.items()}})
    deep = [{"unsigned": [2**53 + 1, 2**63 - 1]}]
    table = table.append_column("deep", pa.array(deep, pa.struct([("unsigned", pa.list_(pa.uint64()))])))
    pq.write_table(table, system.sources / "list.parquet")
    _indexed(system.ingest(ManifestSource(str(system.sources / "list.parquet"))))


def _by_webdataset(system: System, way: str) -> None:
    (system.sources / "shard.tar").write_bytes(tar({f"{way}.png": picture(4), f"{way}.json": TEXT.encode()}))
    _indexed(system.ingest(ArchiveSource(str(system.sources / "shard.tar"))))


def _by_upload(system: System, way: str) -> None:
    upload = system.client.upload(COLLECTION, [UploadItem(way, content=picture(5), metadata=VALUES)])
    _indexed(system.ingest(UploadSource(upload.id)))


def _as_a_near_duplicate(system: System, way: str) -> None:
    upload = system.client.upload(COLLECTION, [UploadItem(way, content=picture(5), metadata=VALUES)])
    link = IngestOptions(near_duplicates=NearDuplicatePolicy.LINK)
    _indexed(system.ingest(UploadSource(upload.id), link))
    linked = system.client.get_image(COLLECTION, way, consistency=STRONG).metadata
    assert linked["near_duplicate_of"] == "upload"
    assert same_metadata({key: value for key, value in linked.items() if key != "near_duplicate_of"}, VALUES)
    system.client.update_images(COLLECTION, ImageUpdate(way, {"near_duplicate_of": None}, merge=True))


def _by_form(system: System, way: str) -> None:
    files, data = {"images": ("any.png", picture(6))}, {"ids": way, "metadata": TEXT}
    answer = system.http.post(f"/collections/{COLLECTION}/images", files=files, data=data).json()
    *_, done = system.client.watch_job(answer["job"]["id"])
    _indexed(done)


def _by_import(system: System, way: str) -> None:
    """With images without metadata, for the ways after this one."""
    other = system.client.get_image(COLLECTION, "upload", view="full", consistency=STRONG)
    given = {name: VALUES if name == way else {} for name in WAYS_IN if name == way or name in _CHANGES}
    images = [Image(name, "", one, other.sha256, 0, other.index_time, other.vectors) for name, one in given.items()]
    system.client.import_images(COLLECTION, images, system.client.get_collection(COLLECTION).spaces)


def _by_update(system: System, way: str) -> None:
    assert system.client.update_images(COLLECTION, [ImageUpdate(way, VALUES)]).updated == 1


def _by_update_over_http(system: System, way: str) -> None:
    body = f'{{"updates": [{{"id": "{way}", "metadata": {TEXT}}}]}}'
    assert _posted(system, f"/collections/{COLLECTION}/images:update", body)["updated"] == "1"


def _by_patch(system: System, way: str) -> None:
    url, headers = f"/collections/{COLLECTION}/images/{way}", {"content-type": "application/json"}
    assert system.http.patch(url, content=f'{{"metadata": {TEXT}}}', headers=headers).json()["updated"] == "1"


def _by_command(system: System, way: str) -> None:
    facts = [f"{key}={json.dumps(value)}" for key, value in VALUES.items()]
    assert system.run("images", "update", COLLECTION, way, *facts) == exits.OK


def _indexed(job: Job) -> None:
    assert (job.state, job.counts.indexed, job.counts.failed) == (JobState.SUCCEEDED, 1, 0), job


def _posted(system: System, path: str, body: str) -> Any:
    response = system.http.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text
    return response.json()


_CHANGES: Mapping[str, Callable[[System, str], None]] = {
    "update": _by_update,
    "update over HTTP": _by_update_over_http,
    "patch": _by_patch,
    "command": _by_command,
}
WAYS_IN: Mapping[str, Callable[[System, str], None]] = {
    "upload": _by_upload,
    "csv": _by_csv,
    "jsonl": _by_jsonl,
    "parquet": _by_parquet,
    "webdataset": _by_webdataset,
    "near-duplicate": _as_a_near_duplicate,
    "form": _by_form,
    "import": _by_import,
    **_CHANGES,
}

_LISTS = frozenset({"csv", "jsonl", "parquet", "webdataset", "form"})
"""Ways that differ in what reads the numbers, and are jobs like that of an upload from there on."""


def _expected(way: str) -> Mapping[str, object]:
    own: Mapping[str, Mapping[str, object]] = {
        "csv": PLAIN,
        "parquet": {**PLAIN, "deep": {"unsigned": [2**53 + 1, 2**63 - 1]}},
    }
    return own.get(way, VALUES)


# --- out ---

Found = Mapping[str, Mapping[str, object]]


def _by_get(system: System, _capsys: Any) -> Found:
    return {way: system.client.get_image(COLLECTION, way, consistency=STRONG).metadata for way in _ids(system)}


def _by_list(system: System, _capsys: Any) -> Found:
    return {image.id: image.metadata for image in system.client.list_images(COLLECTION, consistency=STRONG)}


def _by_search(system: System, _capsys: Any) -> Found:
    answer = system.client.search(COLLECTION, image=picture(5), top_k=50, consistency=STRONG)
    return {hit.image.id: hit.image.metadata for hit in answer.neighbours}


def _by_get_over_http(system: System, _capsys: Any) -> Found:
    urls = {way: f"/collections/{COLLECTION}/images/{way}?consistency=CONSISTENCY_STRONG" for way in _ids(system)}
    return {way: system.http.get(url).json()["image"]["metadata"] for way, url in urls.items()}


def _by_list_over_http(system: System, _capsys: Any) -> Found:
    images = system.http.get(f"/collections/{COLLECTION}/images?consistency=CONSISTENCY_STRONG").json()["images"]
    return {image["id"]: image["metadata"] for image in images}


def _by_search_over_http(system: System, _capsys: Any) -> Found:
    body = '{"query": {"image_id": "upload"}, "options": {"top_k": 50, "consistency": "CONSISTENCY_STRONG"}}'
    found = _posted(system, f"/collections/{COLLECTION}/search", body)["neighbours"]
    return {hit["image"]["id"]: hit["image"]["metadata"] for hit in found} | {"upload": VALUES}


def _by_batch_over_http(system: System, _capsys: Any) -> Found:
    body = '{"queries": [{"query": {"image_id": "upload"}}], "options": {"top_k": 50, "consistency": "CONSISTENCY_STRONG"}}'
    answer = _posted(system, f"/collections/{COLLECTION}/search:batch", body)["answer"]
    return {hit["image"]["id"]: hit["image"]["metadata"] for hit in answer["neighbours"]} | {"upload": VALUES}


def _by_command_as_json(system: System, capsys: pytest.CaptureFixture[str]) -> Found:
    capsys.readouterr()
    assert system.run("images", "list", COLLECTION, "--json") == exits.OK
    images = map(json.loads, capsys.readouterr().out.splitlines())
    return {image["id"]: image["metadata"] for image in images}


def _by_export(system: System, _capsys: Any) -> Found:
    folder = _exported(system, "export")
    rows = pq.read_table(sorted(folder.glob("*.parquet"))[0]).select(["id", "metadata"]).to_pylist()
    return {row["id"]: json.loads(row["metadata"]) for row in rows}


def _by_export_and_import(system: System, _capsys: Any) -> Found:
    folder = _exported(system, "export to import")
    import_collection(system.client, Artifacts(folder.as_uri()), COPY, done=lambda _: None)
    found = {image.id: image.metadata for image in system.client.list_images(COPY, consistency=STRONG)}
    system.client.delete_collection(COPY)
    return found


def _exported(system: System, folder: str) -> Path:
    export_collection(system.client, COLLECTION, Artifacts((system.sources / folder).as_uri()), done=lambda _: None)
    return system.sources / folder


WAYS_OUT = (
    _by_get,
    _by_list,
    _by_search,
    _by_get_over_http,
    _by_list_over_http,
    _by_search_over_http,
    _by_batch_over_http,
    _by_command_as_json,
    _by_export,
    _by_export_and_import,
)


def _ids(system: System) -> list[str]:
    return [image.id for image in system.client.list_images(COLLECTION, consistency=STRONG)]


def _way_of(image_id: str) -> str:
    """An image of an archive is called by its place there."""
    return image_id if image_id in WAYS_IN else "webdataset"


@pytest.mark.parametrize("way_out", WAYS_OUT, ids=lambda way: way.__name__.removeprefix("_by_").replace("_", " "))
def test_numbers_come_out_as_they_went_in(
    whole_system: System, way_out: Callable[[System, Any], Found], capsys: pytest.CaptureFixture[str]
) -> None:
    found = {_way_of(image_id): metadata for image_id, metadata in way_out(whole_system, capsys).items()}
    assert found.keys() == whole_system.ways
    differing = {way: metadata for way, metadata in found.items() if not same_metadata(metadata, _expected(way))}
    assert differing == {}


def test_the_command_s_table_shows_all_digits(whole_system: System, capsys: pytest.CaptureFixture[str]) -> None:
    assert whole_system.run("images", "show", COLLECTION, "update") == exits.OK
    said = " ".join(capsys.readouterr().out.split())
    assert "beyond=9007199254740993" in said
    assert "least=-9223372036854775808" in said


@pytest.mark.parametrize(
    ("filter_text", "holds"),
    [
        ("beyond = 9007199254740993", True),
        ("beyond = 9007199254740992", False),
        ("beyond = 9007199254740992.0", False),
        ("beyond > 9007199254740992 AND beyond < 9007199254740994", True),
        ("most = 9223372036854775807", True),
        ("most < 9223372036854775807", False),
        ("most <= 9223372036854775806", False),
        ("least = -9223372036854775808", True),
        ("least > -9223372036854775808", False),
        ("most IN (1, 9223372036854775807)", True),
        ("most IN (1, 9223372036854775806)", False),
        ("least NOT IN (-9223372036854775808)", False),
        ("seven = 7.0 AND real = 7", True),
    ],
)
def test_a_filter_finds_numbers_of_every_way_in_by_their_value(whole_system: System, filter_text: str, holds: bool) -> None:
    found = whole_system.client.count_images(COLLECTION, filter=filter_text, consistency=STRONG)
    assert found == (len(whole_system.ways) if holds else 0)


# --- what no way can carry ---


_ON_ONE_STORE = pytest.mark.parametrize("whole_system", ["stack"], indirect=True)
"""Of tests of what comes to no store."""


@_ON_ONE_STORE
def test_a_number_that_no_way_can_carry_fails_its_item_alone(whole_system: System) -> None:
    texts = [f'{{"a": {{"b": [1, 2, 3, {number}]}}}}' for number, _ in BAD] + ["{}"]
    lines = [f'{{"uri": "more.png", "id": "line {n}", "given": {text}}}' for n, text in enumerate(texts)]
    members = {f"{n}.png": picture(8 + n) for n in range(len(texts))} | {
        f"{n}.json": texts[n].encode() for n in range(len(texts))
    }
    (whole_system.sources / "bad.tar").write_bytes(tar(members))
    items = [UploadItem(f"item {n}", content=picture(8 + n), metadata=json.loads(text)) for n, text in enumerate(texts)]
    upload = whole_system.client.upload(COLLECTION, items)
    jobs = {
        "metadata.given.a.b[3]": whole_system.ingest(whole_system.list_file("bad.jsonl", "\n".join(lines).encode())),
        " metadata.a.b[3]": whole_system.ingest(ArchiveSource(str(whole_system.sources / "bad.tar"))),
        "metadata.a.b[3]": whole_system.ingest(UploadSource(upload.id)),
    }
    files = [("images", ("any.png", picture(8 + n))) for n in range(len(texts))]
    data = {"ids": [f"form {n}" for n in range(len(texts))], "metadata": texts}
    answer = whole_system.http.post(f"/collections/{COLLECTION}/images", files=files, data=data).json()
    *_, jobs["metadata.a.b[3] "] = whole_system.client.watch_job(answer["job"]["id"])
    for path, job in jobs.items():
        failures = sorted(whole_system.client.list_failures(job.id), key=lambda failure: failure.position)
        assert (job.state, job.counts.submitted, len(failures)) == (JobState.SUCCEEDED, len(texts), len(BAD))
        for failure, (_, problem) in zip(failures, BAD, strict=True):
            assert failure.reason == "ITEM_INVALID"
            assert f"{path.strip()}: {problem}" in failure.message


@_ON_ONE_STORE
@pytest.mark.parametrize(("number", "problem"), BAD, ids=[number for number, _ in BAD])
def test_a_number_that_no_way_can_carry_is_refused_by_its_path(
    whole_system: System, number: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata, text = {"a": {"b": [json.loads(number)]}}, f'{{"a": {{"b": [{number}]}}}}'
    image = whole_system.client.get_image(COLLECTION, "upload", view="full")
    spaces = whole_system.client.get_collection(COLLECTION).spaces
    bad = Image("bad", "", metadata, image.sha256, 0, image.index_time, image.vectors)
    for field, call in (
        ("updates[0].metadata.a.b[0]", lambda: whole_system.client.update_images(COLLECTION, ImageUpdate("upload", metadata))),
        ("images[1].metadata.a.b[0]", lambda: whole_system.client.import_images(COLLECTION, [image, bad], spaces)),
    ):
        with pytest.raises(InvalidArgument) as refused:
            call()
        assert (refused.value.field, refused.value.problem.startswith(problem)) == (field, True)
    headers = {"content-type": "application/json"}
    images = f"/collections/{COLLECTION}/images"
    updated = whole_system.http.post(
        f"{images}:update", content=f'{{"updates": [{{"id": "upload", "metadata": {text}}}]}}', headers=headers
    )
    patched = whole_system.http.patch(f"{images}/upload", content=f'{{"metadata": {text}}}', headers=headers)
    for field, response in (("updates[0].metadata.a.b[0]", updated), ("metadata.a.b[0]", patched)):
        error = response.json()["error"]
        assert (response.status_code, error["field"]) == (400, field)
        assert error["message"].startswith(f"{field}: {problem}")
    capsys.readouterr()
    assert whole_system.run("images", "update", COLLECTION, "upload", "--json", text) == exits.INVALID
    assert problem in " ".join(capsys.readouterr().err.split())


@_ON_ONE_STORE
def test_what_a_client_of_another_language_sends_fails_its_item_alone(whole_system: System) -> None:
    """The Python client checks first; others do not."""
    with open_channel(whole_system.target) as channel:
        items = [{"a": [math.nan]}, {}]
        requests = [
            ingest_pb.UploadItemsRequest(header=ingest_pb.UploadHeader(collection=COLLECTION)),
            *(
                ingest_pb.UploadItemsRequest(
                    item=ingest_pb.UploadItem(id=f"raw-{n}", content=picture(10 + n), metadata=metadata_message(one))
                )
                for n, one in enumerate(items)
            ),
        ]
        uploaded = stubs(channel).ingest.UploadItems(iter(requests), timeout=TIMEOUT_S)
    job = whole_system.ingest(UploadSource(uploaded.upload_id))
    (failure,) = whole_system.client.list_failures(job.id)
    assert (failure.id, job.counts.indexed) == ("raw-0", 1)
    assert failure.message.startswith("metadata.a[0]: NaN is not a number of JSON")
