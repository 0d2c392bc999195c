"""The growth bench for people and programs: tables on the terminal, the law in words, and one JSON file. Called by `growth`."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from embedder.cores import usable_cores
from lookalike.cli.terminal import console, count_text, duration_text, table
from tests.bench.growth_law import Found, Law, Size, law
from tests.bench.growth_sizes import RECALL
from tests.bench.report import figure
from tests.bench.searching import CALLERS
from tests.bench.system import TOP_K

_ENOUGH = 100_000
"""Below, what the server takes for anything at all outweighs what the vectors take."""


def write(found: Found, path: Path) -> None:
    """All figures so far as JSON: `{sizes: [...], ingest: [...], gateways: [...], law: {...} or null, notes: [...]}`."""
    fitted = law(found.sizes)
    path.write_text(json.dumps(asdict(found) | {"law": asdict(fitted) if fitted else None}, indent=1) + "\n", encoding="utf-8")


def show(found: Found, spent_s: float) -> None:
    """Print everything."""
    out = console()
    if found.sizes:
        out.print("Of each collection (vectors are made up, like those of photographs)", style="bold")
        for made in (taken, found_share, searched):
            out.print(made(found.sizes))
    if found.ingest or found.gateways:
        out.print("With 1 and 2 processes", style="bold")
        out.print(processes(found))
    for line in [*law_lines(found.sizes, law(found.sizes)), *noise_lines(found), *found.notes]:
        out.print(f"  {line}")
    out.print(f"  {count_text(usable_cores(), 'core')} for everything, callers included; {duration_text(spent_s)}")


def taken(sizes: list[Size]) -> Table:
    columns = ("vectors", "write s", "index s", "memory", "at most", "disk: rows", "index", "log")
    made = table(*columns, title="Seconds, Milvus' resident memory and what was added to its disk, in MiB", numbers=columns)
    for size in sizes:
        made.add_row(
            f"{size.vectors:,}", figure(size.write_s), figure(size.indexed_s), figure(size.memory_after_mib),
            figure(size.memory_peak_mib), figure(size.disk.rows), figure(size.disk.index), figure(size.disk.log),
        )  # fmt: skip
    return made


def found_share(sizes: list[Size]) -> Table:
    fresh = f"ef for {RECALL:g}"
    columns = ("vectors", "tuned ef", "stored", "new", fresh, "tuning s")
    title = f"recall@{TOP_K} with the ef that the tuner found, of stored images and of new ones"
    made = table(*columns, title=title, numbers=columns)
    for size in sizes:
        enough = f"{size.fresh_ef:,}" if size.fresh_ef else "none"
        made.add_row(
            f"{size.vectors:,}", f"{size.ef:,}", f"{size.tuner_recall:.4f}", f"{size.recall:.4f}", enough, figure(size.tuner_s)
        )
    return made


def searched(sizes: list[Size]) -> Table:
    columns = ("vectors", "p50 ms", "p99 ms", "pymilvus p50", "p99", "queries/s")
    title = f"Lone searches with the tuned ef, through the gateway and by pymilvus alone; {CALLERS} callers"
    made = table(*columns, title=title, numbers=columns)
    for size in sizes:
        made.add_row(
            f"{size.vectors:,}", figure(size.gateway.p50), figure(size.gateway.p99), figure(size.alone.p50),
            figure(size.alone.p99), figure(statistics.median(size.queries_per_s)),
        )  # fmt: skip
    return made


def processes(found: Found) -> Table:
    made = table("", "with 1", "with 2", "factor", numbers=("with 1", "with 2", "factor"))
    for name, rates in (
        ("images/s of a job, by worker processes", found.ingest),
        (f"queries/s of {CALLERS} callers by vector, by gateways", found.gateways),
    ):
        if rates:
            one, two = (rate.median for rate in rates)
            made.add_row(name, figure(one), figure(two), f"{two / one:.2f}")
    return made


def law_lines(sizes: list[Size], fitted: Law | None) -> list[str]:
    """The law in words."""
    if fitted is None:
        return []
    if sizes[-1].vectors < _ENOUGH:
        return [f"collections of fewer than {_ENOUGH:,} vectors try the command out: a law fitted to them says nothing"]
    times = f"{figure(fitted.write_s)} s to write and {figure(fitted.indexed_s)} s until indexed"
    disk = f"{figure(fitted.rows_mib)} MiB of rows, {figure(fitted.index_mib)} of index and {figure(fitted.log_mib)} of log"
    return [
        f"a million vectors of {sizes[0].dimension} values more take {times},",
        f"{figure(fitted.memory_mib)} MiB of memory, and on disk {disk};",
        f"with ten times as many, the p50 of a lone search is {fitted.p50_factor:.2f} times as long",
    ]


def noise_lines(found: Found) -> list[str]:
    """How far the rounds of a rate lay apart, at worst."""
    rounds = [size.queries_per_s for size in found.sizes] + [rate.rounds for rate in [*found.ingest, *found.gateways]]
    spreads = [(max(some) - min(some)) / statistics.median(some) for some in rounds if len(some) > 1]
    return [f"noise: the rounds of one rate lay at most {max(spreads):.0%} of their median apart"] if spreads else []
