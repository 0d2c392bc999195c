"""`buf curl`, which no one here wrote, finds its way around by reflection and reads our answers and errors."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.rpc import error_details_pb2

from lookalike.client import Client, UploadItem, UploadSource
from lookalike.demo import dataset
from tests.servers.stack import Stack

COLLECTION = "foreign_client"


@pytest.fixture(scope="module")
def buf() -> str:
    found = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    if found is None:
        pytest.skip("buf (extra [dev]) is not installed")
    return found


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Stack:
    """A collection of twenty pictures."""
    gallery, _ = dataset.split()
    with Client(stack.target) as client:
        client.create_collection(COLLECTION)
        items = [UploadItem(id=gallery.id(i), content=gallery.png(i)) for i in range(20)]
        upload = client.upload(COLLECTION, items)
        *_, job = client.watch_job(client.create_ingest_job(COLLECTION, UploadSource(upload.id)).id)
        assert job.counts.indexed == 20
    return stack


def call(buf: str, stack: Stack, method: str, request: dict[str, object]) -> subprocess.CompletedProcess[str]:
    command = [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", json.dumps(request)]
    return subprocess.run(
        [*command, f"http://{stack.target}/{method}"], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_foreign_client_lists_every_service_by_reflection(buf: str, stack: Stack) -> None:
    command = [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--list-services", f"http://{stack.target}"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    for service in ("SearchService", "IngestService", "CollectionService"):
        assert f"lookalike.v1.{service}" in listed
    assert "grpc.health.v1.Health" in listed


def test_a_foreign_client_reads_the_health_of_the_server_and_of_a_service(buf: str, stack: Stack) -> None:
    for service in ("", "lookalike.v1.SearchService"):
        answer = call(buf, stack, "grpc.health.v1.Health/Check", {"service": service})
        assert json.loads(answer.stdout) == {"status": "SERVING"}


def test_a_foreign_client_searches_with_a_picture(buf: str, filled: Stack) -> None:
    gallery, _ = dataset.split()
    picture = base64.b64encode(gallery.png(7)).decode()
    options = {"topK": 3, "consistency": "CONSISTENCY_STRONG"}
    request: dict[str, object] = {"collection": COLLECTION, "query": {"image": picture}, "options": options}
    answer = json.loads(call(buf, filled, "lookalike.v1.SearchService/Search", request).stdout)
    assert [hit["rank"] for hit in answer["neighbours"]] == [1, 2, 3]
    assert answer["neighbours"][0]["image"]["id"] == gallery.id(7)


def test_a_foreign_client_reads_the_details_of_an_error(buf: str, filled: Stack) -> None:
    request: dict[str, object] = {"collection": COLLECTION, "query": {"image": "AAAA"}, "options": {"topK": 0}}
    failed = call(buf, filled, "lookalike.v1.SearchService/Search", request)
    assert failed.returncode != 0
    error = json.loads(failed.stderr)
    assert error["code"] == "invalid_argument"
    packed = {detail["type"]: base64.b64decode(detail["value"] + "==") for detail in error["details"]}
    info = error_details_pb2.ErrorInfo.FromString(packed["google.rpc.ErrorInfo"])
    bad = error_details_pb2.BadRequest.FromString(packed["google.rpc.BadRequest"])
    assert (info.domain, info.reason) == ("lookalike", "INVALID_ARGUMENT")
    assert [violation.field for violation in bad.field_violations] == ["options.top_k"]
