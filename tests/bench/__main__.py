"""`python -m tests.bench`: measure every row (or some groups), print the table, write the figures and a plot.

Exit code 0: every must is reached. 1: some row falls short. 3: none falls short, but some row could not be measured. 2: a wrong
option. Writes bench.json (the rows), bench-rounds.json (what every round gave) and bench.png to the folder --out.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.bench import report
from tests.bench.company import Company
from tests.bench.rows import GROUPS, Findings
from tests.bench.scales import FULL, QUICK, Scale

MODULES = {
    "start": "starting",
    "decode": "decoding",
    "batcher": "batching",
    "embedder": "embedding",
    "overload": "overload",
    "system": "whole",
}


def main() -> int:
    arguments = _arguments()
    scale = _scale(arguments)
    findings, company, begun_s = Findings(), Company(), time.monotonic()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for group in arguments.only or GROUPS:
        print(f"{group} ...", file=sys.stderr, flush=True)
        measure(group, scale, findings)
        report.write(findings, arguments.out)
    findings.note(company.line())
    report.show(findings, scale, time.monotonic() - begun_s)
    return findings.exit_code


def measure(group: str, scale: Scale, findings: Findings) -> None:
    """Measure the rows of one group; what cannot be measured is missing, with the reason, and the other groups go on."""
    try:
        # Imported here, so that a group whose servers are not installed costs its own rows only.
        importlib.import_module(f"tests.bench.{MODULES[group]}").measure(scale, findings)
    except Exception as error:  # noqa: BLE001 - the edge of a group
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{group} could not be measured: {reason[:1000]}", file=sys.stderr, flush=True)
        findings.miss(group, reason[:200])


def _scale(arguments: argparse.Namespace) -> Scale:
    scale = QUICK if arguments.quick else FULL
    given = {name: value for name in ("vectors", "rounds", "jobs") if (value := getattr(arguments, name)) is not None}
    return replace(scale, **given)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="every row with 20,000 vectors, within 8 minutes on two cores")
    parser.add_argument("--only", nargs="+", choices=GROUPS, metavar="GROUP", help=f"some groups: {', '.join(GROUPS)}")
    parser.add_argument("--vectors", type=int, help="rows of each collection in Milvus")
    parser.add_argument("--rounds", type=int, help="rounds of every rate")
    parser.add_argument("--jobs", type=int, help="jobs that the pictures are ingested in")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for the results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
