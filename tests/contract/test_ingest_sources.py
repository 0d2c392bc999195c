"""`lookalike ingest` on the whole system with every kind of source, read in place by the workers and uploaded from here."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.client import Consistency
from lookalike.items import member_uri
from lookalike.names import id_from_uri
from tests.contract.gateway_collections import label, picture
from tests.servers.stack import Stack
from tests.unit.lookalike.tar_files import tar

COLLECTION = "ingest_sources"


def fill(folder: Path, first: int) -> Path:
    """Two tar files, a picture, and lists of it: five new pictures from number `first` on."""
    shards = folder / "shards"
    shards.mkdir(parents=True)
    (shards / "0.tar").write_bytes(
        tar({"a.png": picture(first), "a.json": json.dumps({"label": label(first)}).encode(), "b.png": picture(first + 1)})
    )
    (shards / "1.tar.gz").write_bytes(tar({"c.png": picture(first + 2)}, compressed=True))
    (folder / "d.png").write_bytes(picture(first + 3))
    (folder / "e.png").write_bytes(picture(first + 4))
    (folder / "list.txt").write_text("d.png\n")
    pq.write_table(pa.table({"uri": ["e.png"], "id": [f"parquet-{first}"], "label": ["Coat"]}), folder / "list.parquet")
    return folder


@pytest.mark.parametrize(("options", "first"), [((), 0), (("--in-place",), 100)], ids=["uploaded", "in place"])
def test_every_kind_of_source_is_indexed_whole(
    stack: Stack, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], first: int
) -> None:
    folder = fill(stack.inside.sources / f"kinds-{first}", first)
    seen = []
    for source in (("shards", "--archives"), ("shards/0.tar",), ("list.txt",), ("list.parquet",), ("d.png",)):
        name, *more = source
        command = ["ingest", str(folder / name), *more, *options, "-C", COLLECTION, "--create", "--watch", "--json"]
        assert run_command(["--address", stack.target, *command]) == exits.OK, capsys.readouterr().err
        job = json.loads(capsys.readouterr().out)
        seen.append((job["counts"]["submitted"], job["counts"]["indexed"], job["skip_reasons"]))
    assert seen == [(3, 3, {}), (2, 0, {"unchanged": 2}), (1, 1, {}), (1, 1, {}), (1, 0, {"unchanged": 1})]
    with stack.client() as client:
        listed = client.get_image(COLLECTION, f"parquet-{first}", consistency=Consistency.STRONG)
        packed_id = id_from_uri(member_uri("a.png", (folder / "shards" / "0.tar").as_uri()))
        packed = client.get_image(COLLECTION, packed_id, consistency=Consistency.STRONG)
    assert (listed.metadata, packed.metadata) == ({"label": "Coat"}, {"label": label(first)})
