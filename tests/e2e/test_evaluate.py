"""`lookalike evaluate collection:NAME` against the whole system: it agrees with what the stored vectors say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.client import JobState, ManifestSource
from lookalike.demo import dataset
from tests.servers.stack import Stack

COLLECTION = "evaluated"
STORED, QUERIES = 150, 30


def lookalike(stack: Stack, *arguments: str) -> int:
    """Its exit code. In this process: a new one takes ten seconds to import TensorFlow."""
    return run_command(["--address", stack.target, "evaluate", *arguments])


@pytest.fixture(scope="module")
def pictures(stack: Stack) -> Iterator[tuple[dataset.Pictures, Path]]:
    """The collection, and the folder of its pictures by class."""
    gallery, _ = dataset.split()
    stored = dataset.Pictures(gallery.images[:STORED], gallery.labels[:STORED], gallery.numbers[:STORED])
    folder = stack.inside.sources / "evaluated"
    manifest = dataset.write_files(stored, folder)
    with stack.client() as client:
        client.create_collection(COLLECTION, model="fashion")
        *_, job = client.watch_job(client.create_ingest_job(COLLECTION, ManifestSource(str(manifest))).id)
        assert job.state is JobState.SUCCEEDED
        assert job.counts.indexed == STORED
        yield stored, manifest
        client.delete_collection(COLLECTION)


def test_a_collection_is_measured_as_users_search_it(
    stack: Stack, pictures: tuple[dataset.Pictures, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored, manifest = pictures
    report = tmp_path / "report.html"
    code = lookalike(
        stack, f"collection:{COLLECTION}", str(manifest), "--limit", str(QUERIES), "--json", "--report", str(report)
    )
    said = capsys.readouterr()
    assert code == exits.OK, said.err
    shown = json.loads(said.out)
    assert (shown["queries"], shown["gallery"], shown["skipped"]) == (QUERIES, STORED, [])
    assert f"{QUERIES} of them are stored too" in shown["protocol"]
    expected = _precision_at_1(stack, stored)
    for space, figures in (("siamese", shown), ("histogram", shown["histogram"])):
        assert figures["p_at_1"] == pytest.approx(expected[space], abs=1.05 / QUERIES), space  # one query: histograms tie
        assert figures["index_recall_at_10"] >= 0.99
        assert {"p_at_10", "map_at_1000", "map_at_r", "knn5_accuracy"} <= set(figures)
    assert shown["p_at_1"] > shown["histogram"]["p_at_1"]
    assert report.read_text(encoding="utf-8").count("data:image/jpeg;base64,") > QUERIES


def test_labels_of_another_kind_are_named(
    stack: Stack, pictures: tuple[dataset.Pictures, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code = lookalike(stack, f"collection:{COLLECTION}", "fashion-mnist", "--label-key", "colour")
    assert code == exits.WRONG_STATE
    assert "they have 'label'" in capsys.readouterr().err


def _precision_at_1(stack: Stack, stored: dataset.Pictures) -> dict[str, float]:
    """Leave-one-out over the stored vectors, for the rows that `--limit` picks from the manifest."""
    with stack.client() as client:
        images = [client.get_image(COLLECTION, stored.id(row), view="full") for row in range(STORED)]
        spaces = {space.name: space for space in client.get_collection(COLLECTION).spaces}
    found = {}
    rows = np.arange(QUERIES) * STORED // QUERIES
    for name in spaces:
        vectors = np.stack([image.vectors[name] for image in images])
        right = 0
        for row in rows:
            distances = spaces[name].metric.distance(vectors, vectors[row])
            distances[row] = np.inf
            right += stored.labels[distances.argmin()] == stored.labels[row]
        found[name] = right / QUERIES
    return found
