"""The group of rows that need the whole system: started once, filled, then asked, in this order."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.bench import ingest, recall, searching
from tests.bench.inputs import photo_like
from tests.bench.rows import Findings
from tests.bench.scales import Scale
from tests.bench.system import FASHION, PHOTO, running
from tests.servers.milvus import why_no_milvus


def measure(scale: Scale, findings: Findings) -> None:
    assert not why_no_milvus(), why_no_milvus()
    anchors = recall.anchors()
    with tempfile.TemporaryDirectory(prefix="lookalike-bench-") as name, running(Path(name)) as system:
        ids = ingest.measure(system, scale, findings)
        print("  writing photo-like vectors, waiting for the indexes", file=sys.stderr, flush=True)
        system.write_photo(photo_like(anchors, scale.vectors, seed=1))
        for collection in (FASHION, PHOTO):
            system.until_indexed(collection)
        searching.measure(system, scale, findings)
        system.read_fashion(ids)
        recall.measure(system, photo_like(anchors, scale.recall_queries, seed=2), scale, findings)
