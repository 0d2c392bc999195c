"""How the system grows: time, memory, disk, latency and recall at several sizes, and rates with one and two processes.

    python -m tests.bench.growth --vectors 10000 100000 1000000

The real Milvus 2.3.5 and the whole system run as in `tests.bench`. Vectors are made up (`inputs.photo_like`); the breadth of
the search (`ef`) is found by the tuner of `lookalike tune`. Collections are made one after the other, the smallest first, and
dropped in between; Milvus gives memory back late, which is waited for. Writes growth.json after every step to the folder --out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.bench import growth_report, growth_sizes, growth_workers, recall
from tests.bench.company import Company
from tests.bench.growth_law import Found
from tests.bench.scales import QUICK, Scale
from tests.bench.system import running
from tests.servers.milvus import why_no_milvus

_SCALE = replace(QUICK, rounds=5, window_s=3.0, lone_queries=400, recall_queries=200)
_JOB_ROUNDS = 2


def main() -> int:
    arguments = _arguments()
    assert not why_no_milvus(), why_no_milvus()
    found, company, begun_s = Found(), Company(), time.monotonic()
    arguments.out.mkdir(parents=True, exist_ok=True)
    measure(arguments, _SCALE, found)
    found.notes.append(company.line())
    growth_report.write(found, arguments.out / "growth.json")
    growth_report.show(found, time.monotonic() - begun_s)
    return 0


def measure(arguments: argparse.Namespace, scale: Scale, found: Found) -> None:
    """Fill `found`, and write it after every step: a long run that is stopped has left what it had."""
    anchors = recall.anchors()
    with tempfile.TemporaryDirectory(prefix="lookalike-growth-") as name, running(Path(name), workers=2) as system:
        for count in sorted(arguments.vectors):
            size = growth_sizes.measure(system, anchors, count, scale, _say)
            found.sizes.append(size)
            if not found.gateways:
                queries = growth_sizes.Made(anchors, count).queries(scale.lone_queries)
                found.gateways += growth_workers.searching(system, queries, size.ef, scale, _say)
            growth_report.write(found, arguments.out / "growth.json")
            growth_sizes.drop(system)
        if arguments.images:
            found.ingest += growth_workers.ingesting(system, arguments.images, _JOB_ROUNDS, scale, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--vectors", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], metavar="N", help="sizes of the collections"
    )
    parser.add_argument("--images", type=int, default=5000, help="pictures of each of the four ingest jobs; 0 leaves them out")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for the results")
    arguments = parser.parse_args()
    if min(arguments.vectors) < growth_sizes.FEWEST:
        parser.error(f"--vectors: at least {growth_sizes.FEWEST:,} are needed: Milvus indexes no fewer")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
