"""A data folder and an export of 0.1 (tests/data/0.1), and what a system of today must find in them.

Release 0.1 made both of 12 pictures, p00 to p11, with the URIs file:///pictures/NN.png, where there is nothing: the originals
are in the folder. `shoes` has histograms of 32 bins in a grid of 2 and the model `fashion`, `photos` what a collection had by
default, without p11, which was deleted. The export is of `shoes`.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.client import (
    Client,
    CollectionDefaults,
    Consistency,
    HistogramSettings,
    ImageUpdate,
    JobState,
    ModelSettings,
    UploadItem,
)
from lookalike.errors import NotFound
from tests.servers.processes import until

FOLDER = Path(__file__).resolve().parents[1] / "data" / "0.1"
IDS = [f"p{number:02d}" for number in range(12)]
ORDER = {
    "histogram": {
        "p03": 1.0, "p05": 0.9638, "p02": 0.9576, "p09": 0.9386, "p11": 0.9271, "p08": 0.9209, "p06": 0.9088, "p00": 0.9071,
        "p10": 0.892, "p07": 0.8739, "p04": 0.8599, "p01": 0.8592,
    },
    "siamese": {
        "p03": 1.0, "p05": 0.9532, "p02": 0.9502, "p06": 0.5607, "p10": 0.5515, "p01": 0.5461, "p07": 0.5437, "p04": 0.527,
        "p08": 0.4082, "p11": 0.3996, "p00": 0.3765, "p09": 0.358,
    },
}  # fmt: skip
"""What 0.1 answered to the picture of p03 in `shoes`: the ids in order, with their similarities."""


def unpack(data: Path) -> None:
    """Write the data folder of 0.1 to `data`."""
    with tarfile.open(FOLDER / "data.tar.gz") as archive:
        archive.extractall(data, filter="data")


def check(target: str, data: Path) -> None:
    """Ask for what was in the data folder, then change it, import the export, and fill a collection anew."""
    export = data.parent / "export"
    shutil.copytree(FOLDER / "export", export)
    with Client(target) as client:
        check_found(client, data)
        check_written(client, data)
        assert run_command(["--address", target, "collections", "import", str(export), "--name", "imported"]) == exits.OK
        assert [(space.name, space.fingerprint) for space in client.get_collection("imported").spaces] == [
            ("histogram", "71681291193fd799"), ("siamese", "3b4b770d355a4261"),
        ]  # fmt: skip
        check_order(client, "imported", data)
        check_embedded_anew(client, data)


def check_found(client: Client, data: Path) -> None:
    photos, shoes = client.list_collections()
    assert (photos.name, photos.image_count, shoes.name, shoes.image_count) == ("photos", 11, "shoes", 12)
    assert [(space.name, space.kind) for space in (*photos.spaces, *shoes.spaces)] == [
        ("histogram", HistogramSettings()),
        ("siamese", ModelSettings("photo")),
        ("histogram", HistogramSettings(bins=32, grid=2)),
        ("siamese", ModelSettings("fashion")),
    ]
    assert photos.defaults == shoes.defaults == CollectionDefaults()
    check_order(client, "shoes", data)
    assert client.get_image("shoes", "p00").metadata == {"label": 9, "price": 0.5, "year": 2010}
    assert [image.id for image in client.list_images("shoes", filter="year = 2010")] == ["p00"]
    assert [image.id for image in client.list_images("photos")] == IDS[:-1]
    with pytest.raises(NotFound):
        client.get_image("photos", "p11")
    assert "p11" not in [hit.image.id for hit in client.search("photos", image=original(data, "p11"), top_k=12).neighbours]
    assert client.thumbnail("shoes", "p07").startswith(b"\xff\xd8")
    (job,) = client.list_jobs("shoes")
    assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, 12)


def check_order(client: Client, collection: str, data: Path) -> None:
    """The answers of 0.1 to a picture, which today's embedder makes the vectors of."""
    for space, expected in ORDER.items():
        found = client.search(
            collection, image=original(data, "p03"), spaces=space, top_k=12, consistency=Consistency.STRONG
        ).neighbours
        assert [hit.image.id for hit in found] == list(expected), space
        assert [hit.similarity for hit in found] == pytest.approx(list(expected.values()), abs=2e-4), space


def check_written(client: Client, data: Path) -> None:
    before = client.get_image("shoes", "p00").revision
    update = client.update_images("shoes", ImageUpdate("p00", {"year": 9007199254740993}, merge=True, expected_revision=before))
    assert (update.updated, update.revision > before) == (1, True)
    there = client.get_image("shoes", "p00", consistency=Consistency.STRONG)
    assert there.metadata == {"label": 9, "price": 0.5, "year": 9007199254740993}
    changed = client.update_collection("photos", description="of 0.1", spaces=["histogram"])
    assert (changed.description, changed.defaults.spaces, changed.image_count) == ("of 0.1", ("histogram",), 11)
    items = [UploadItem("p11", content=original(data, "p11")), UploadItem("p12", content=original(data, "p03"))]
    job = client.create_ingest_job("photos", client.upload("photos", items))
    until(lambda: client.get_job(job.id).state.ended, "the job has ended")
    assert client.get_job(job.id).counts.indexed == 2, "the image that was deleted, and another"
    found = client.search("photos", image=original(data, "p11"), spaces="siamese", top_k=1, consistency=Consistency.STRONG)
    assert [hit.image.id for hit in found.neighbours] == ["p11"]


def check_embedded_anew(client: Client, data: Path) -> None:
    job_id = client.reembed_collection("shoes", model="photo")
    until(lambda: client.get_job(job_id).state.ended, "the job has ended")
    job, shoes = client.get_job(job_id), client.get_collection("shoes")
    assert (job.state, job.counts.indexed, job.error) == (JobState.SUCCEEDED, 12, "")
    assert [space.kind for space in shoes.spaces] == [HistogramSettings(bins=32, grid=2), ModelSettings("photo")]
    found = client.search("shoes", image=original(data, "p03"), spaces="siamese", top_k=1, consistency=Consistency.STRONG)
    assert [hit.image.id for hit in found.neighbours] == ["p03"]
    client.rollback_collection("shoes")
    check_order(client, "shoes", data)


def original(data: Path, image_id: str) -> bytes:
    """The picture of an image, as it was uploaded."""
    for path in (data / "artifacts" / "uploads").glob("*/items.jsonl"):
        for line in path.read_text().splitlines()[1:]:
            item = json.loads(line)
            if item["id"] == image_id:
                return Path(data, "artifacts", item["uri"].removeprefix("artifact://")).read_bytes()
    raise AssertionError(f"the folder has no picture of {image_id}")
