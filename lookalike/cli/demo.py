"""`lookalike demo`: the whole path on real pictures, and a measurement of both ways of looking."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli import exits
from lookalike.cli.fitting import put
from lookalike.cli.terminal import table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lookalike.client import Client, Job
    from lookalike.demo.dataset import Pictures
    from lookalike.demo.measure import Measured
    from lookalike.demo.report import Figures
    from lookalike.local.system import LocalSystem

MODEL = "fashion"
_THREADS = 4
"""Queries under way at once; four keep two cores busy."""


Out = Annotated[Path, typer.Option(help="Folder for demo.json, demo.png and the pictures as files.")]
Data = Annotated[
    Path | None,
    typer.Option(help="Data folder of the system; it is kept.", show_default="a new one, removed at the end"),
]
Address = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Use the system at this address instead of starting one.")
]
Collection = Annotated[str, typer.Option("--collection", "-C", help="Collection to use; one of this name is replaced.")]
Models = Annotated[
    list[Path] | None, typer.Option(help="Folder of a model bundle to serve (repeatable).", show_default="the shipped ones")
]
KeepServing = Annotated[
    bool | None,
    typer.Option(
        "--keep-serving/--no-keep-serving", help="Serve until Ctrl-C after measuring.", show_default="on a terminal only"
    ),
]


def demo(
    out: Out = Path("build"),
    data: Data = None,
    address: Address = None,
    collection: Collection = "lookalike_demo",
    model: Models = None,
    keep_serving: KeepServing = None,
) -> None:
    """Ingest 9,000 real pictures, search for 1,000 others, and measure how good and how fast that is.

    Starts the whole system on this machine, writes nine of ten test pictures of Fashion-MNIST as PNG files, uploads and ingests
    them as any caller would, and searches for the others by histogram, by Siamese features and by both. Prints a table, and
    writes demo.json and a contact sheet, demo.png, to the folder --out.

    Exits with 0 if every picture is in the collection and the share of right neighbours is that of the shipped model, with 6 if
    pictures are missing, and with 7 if the share is another.
    """
    from lookalike.cli.serving import output

    console = output()
    out.mkdir(parents=True, exist_ok=True)
    with _system(console, out, data, address, tuple(model or ())) as (target, system):
        code = _run(console, target, collection, out)
        if system is not None:
            _serve(console, system, wait=keep_serving if keep_serving is not None else sys.stdin.isatty())
            if data is None:
                console.print("  The data folder of this run is removed.")
    raise typer.Exit(code)


def exit_code_of(job: Job, unexpected: Sequence[str]) -> int:
    """0 where `job` has indexed everything and no figure is `unexpected`; 6 and 7 as `demo` says."""
    from lookalike.cli import progress

    code = progress.exit_code_of(job)
    return exits.UNEXPECTED if code == exits.OK and unexpected else code


def _serve(console: Console, system: LocalSystem, *, wait: bool) -> None:
    from lookalike.cli.serving import print_addresses, wait_for_ctrl_c

    print_addresses(console, system)
    if not wait:
        console.print("  Stopping everything now; --keep-serving would serve until Ctrl-C.")
        return
    console.print("  Drop a picture on the page, or press Ctrl-C to stop everything.")
    wait_for_ctrl_c(system)
    console.print("\n  stopping")


@contextmanager
def _system(
    console: Console, out: Path, data: Path | None, address: str | None, models: tuple[Path, ...]
) -> Iterator[tuple[str, LocalSystem | None]]:
    """A gRPC target, and the system behind it where the command started it."""
    if address is not None:
        yield address, None
        return
    from lookalike.cli.serving import print_event, running
    from lookalike.local.parts import LocalConfig
    from lookalike.local.system import LocalSystem

    folder = data or Path(tempfile.mkdtemp(prefix="demo-data-", dir=out))
    config = LocalConfig(data=folder, models=models, other_ports=True)
    console.print("[bold]1. Starting the system[/bold]", markup=True)
    try:
        with running(LocalSystem(config, lambda event: print_event(console, event)), console) as system:
            yield system.grpc_target, system
    finally:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)


def _run(console: Console, target: str, collection: str, out: Path) -> int:
    """Ingest, search, measure and write the figures; the exit code."""
    from lookalike.client import Client
    from lookalike.demo import dataset
    from lookalike.demo.report import Figures, surprises, write_json

    gallery, queries = dataset.split()
    with Client(target) as client:
        console.print("\n[bold]2. Ingesting[/bold]", markup=True)
        started_s = time.monotonic()
        manifest = dataset.write_files(gallery, out / "demo-images")
        console.print(f"  wrote {len(gallery):,} PNG files in {time.monotonic() - started_s:.1f} s to {manifest.parent}")
        upload_s, job = _ingest(console, client, collection, manifest)
        console.print(f"\n[bold]3. Searching[/bold] for {len(queries):,} other pictures, {_THREADS} at once", markup=True)
        measured = _measure(client, collection, queries)
        took_s = (job.end_time - job.create_time).total_seconds() if job.end_time and job.create_time else 0.0
        figures = Figures(collection, len(gallery), len(queries), _THREADS, upload_s, took_s, job, measured)
        put(console, figures_table(figures))
        unexpected = surprises(measured)
        for line in unexpected:
            console.print(f"  [yellow]unexpected:[/yellow] {line}", markup=True)
        write_json(figures, out / "demo.json")
        _draw(client, collection, gallery, queries, measured, out / "demo.png")
    console.print(f"  contact sheet {out / 'demo.png'}\n  figures       {out / 'demo.json'}", soft_wrap=True)
    return exit_code_of(job, unexpected)


def figures_table(figures: Figures) -> Table:
    """A row for each way of looking."""
    columns = ("P@1", "P@5", "queries/s", "median ms", "95 % ms", "images/s ingested")
    rows = table("space", *columns, numbers=columns)
    for one in figures.measured:
        rows.add_row(
            one.way, f"{one.precision_at_1:.3f}", f"{one.precision_at_5:.3f}", f"{one.queries_per_s:,.0f}",
            f"{one.p50_ms:.1f}", f"{one.p95_ms:.1f}", f"{figures.images_per_s:,.0f}",
        )  # fmt: skip
    return rows


def _ingest(console: Console, client: Client, collection: str, manifest: Path) -> tuple[float, Job]:
    """Upload, then run a job, as `lookalike ingest --watch` does; the upload's seconds, and the ended job."""
    from lookalike.cli.ingest import send, upload_text
    from lookalike.cli.progress import follow, print_job
    from lookalike.cli.sending import AS_IT_IS
    from lookalike.client import UploadSource
    from lookalike.errors import NotFound

    with suppress(NotFound):
        client.delete_collection(collection)
        console.print(f"  replaced collection {collection}")
    # The pictures are clothes of 28x28 pixels: `fashion` was trained on such, and `photo`, the default, on photographs.
    client.create_collection(collection, model=MODEL, description="Fashion-MNIST's test pictures, but every tenth")
    started_s = time.monotonic()
    upload = send(client, collection, manifest, AS_IT_IS)
    upload_s = time.monotonic() - started_s
    console.print(f"  {upload_text(upload)} in {upload_s:.1f} s")
    job = follow(client, client.create_ingest_job(collection, UploadSource(upload.id)).id)
    print_job(client, job, indent="  ")
    return upload_s, job


def _measure(client: Client, collection: str, queries: Pictures) -> tuple[Measured, ...]:
    from lookalike.cli.progress import bar
    from lookalike.demo.measure import WAYS, measure

    measured = []
    with bar("queries") as progress:
        for way in WAYS:
            task = progress.add_task(way, total=len(queries))

            def done(task: object = task) -> None:
                progress.advance(task)  # type: ignore[arg-type]

            measured.append(measure(client, collection, queries, way, threads=_THREADS, done=done))
    return tuple(measured)


def _draw(
    client: Client, collection: str, gallery: Pictures, queries: Pictures, measured: tuple[Measured, ...], path: Path
) -> None:
    from lookalike.demo.choose import sheet_rows
    from lookalike.demo.sheet import draw_sheet

    by_way = {one.way: one for one in measured}
    histogram, siamese = by_way["histogram"], by_way["siamese"]
    rows = sheet_rows(client, collection, queries, histogram.hits, siamese.hits)
    pictures = {gallery.id(index): gallery.images[index] for index in range(len(gallery))}
    subtitle = (
        f"Fashion-MNIST: {len(queries):,} queries among {len(gallery):,} pictures, all of them new to the shipped model.   "
        f"P@5 by histogram {histogram.precision_at_5:.3f}, by Siamese features {siamese.precision_at_5:.3f}."
    )
    draw_sheet(rows, pictures, subtitle, path)
