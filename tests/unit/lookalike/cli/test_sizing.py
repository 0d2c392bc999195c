"""`lookalike sizing`: what it prints, for people and programs, and how it refuses. No server is asked."""

from __future__ import annotations

import json

import pytest

from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.cli.sizing import parse_bytes, parse_count
from lookalike.errors import InvalidArgument

HUNDRED_MILLION = ("sizing", "--images", "100M", "--dimension", "384", "--metadata-bytes", "120")


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("1000000", 10**6), ("100M", 10**8), ("1.1b", 1_100_000_000), ("0.1 M", 10**5), ("20k", 20_000)],
)
def test_counts(text: str, count: int) -> None:
    assert parse_count("images", text) == count


@pytest.mark.parametrize(("text", "size"), [("64GiB", 64 * 2**30), ("64gb", 64 * 10**9), ("1.5TiB", 3 * 2**39), ("5", 5)])
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes("node-memory", text) == size


@pytest.mark.parametrize("text", ["", "M", "-5", "1e9", "5 parrots", "1.5", "0x10", "1,000", "٣", "9" * 16])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="images"):
        parse_count("images", text)


def test_people_get_a_table_and_what_it_is_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*HUNDRED_MILLION, "--rate", "100"]) == exits.OK
    said = capsys.readouterr()
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == "100,000,000 images, 1 space of 384 values, 1 replica; query nodes of 64GiB"
    assert "index memory nodes GPUs node disk storage log" in lines
    assert "HNSW 186.4 GB 4 - - 344.9 GB 45.0 GB" in lines
    assert "DISKANN 54.6 GB 2 - 224.0 GB 403.3 GB 45.0 GB" in lines
    assert "HNSW: in the storage 173.6 GB of rows, 166.4 GB of index, 4.9 GB for compaction" in lines
    assert lines[-1] == "ingesting takes 11.6 days"
    assert said.err == ""


def test_one_index_type_without_gpus_has_no_column_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*HUNDRED_MILLION, "--index", "hnsw_sq", "--index", "HNSW_SQ", "--node-memory", "32GiB"]) == exits.OK
    said = capsys.readouterr().out
    assert "GPU" not in said
    assert said.count("HNSW_SQ") == 2, "a row of the table and a line below"
    assert "ingesting" not in said


def test_programs_get_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*HUNDRED_MILLION, "--index", "HNSW", "--replicas", "2", "--json"]) == exits.OK
    (found,) = json.loads(capsys.readouterr().out)
    assert found == {
        "index": "HNSW", "memory_bytes": 372_800_000_000, "gpu_bytes": 0, "node_disk_bytes": 0, "query_nodes": 8, "gpus": 0,
        "rows_bytes": 173_600_000_000, "index_bytes": 166_400_000_000, "headroom_bytes": 340_000_000_000,
        "log_bytes": 173_600_000_000, "ingest_s": None, "storage_bytes": 680_000_000_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--images", "many"), "images: 'many' is not a size; give one such as 1000000, 100M or 1B"),
        (("--images", "0"), "images: 0 is out of range; at least 1 is needed"),
        (("--images", "1.5"), "images: '1.5' is not a whole number"),
        (("--dimension", "32769"), "dimension: 32769 is out of range; 1 to 32768 are allowed"),
        (("--dimension", "0"), "dimension: 0 is out of range; 1 to 32768 are allowed"),
        (("--index", "IVF"), "index: 'IVF' is unknown; there are HNSW, HNSW_SQ, DISKANN, GPU_CAGRA"),
        (("--node-memory", "64 horses"), "node-memory: '64 horses' is not a size; give one such as 64GiB or 64GB"),
        (("--replicas", "0"), "replicas: 0 is out of range; at least 1 is needed"),
        (("--rate", "-1"), "rate: -1 is out of range; above 0 images a second are allowed"),
    ],
)
def test_a_wrong_option_is_named(capsys: pytest.CaptureFixture[str], options: tuple[str, ...], problem: str) -> None:
    assert run_command([*HUNDRED_MILLION, *options]) == exits.INVALID
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"lookalike: {problem}\n")
