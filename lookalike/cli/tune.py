"""`lookalike tune`: the breadth that a search needs to find the true neighbours, measured on a collection's own images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli import exits
from lookalike.cli.connection import AsJson, connect
from lookalike.cli.fitting import put
from lookalike.cli.terminal import console, count_text, emit_json, note, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from rich.console import Console

    from lookalike.tuning import Report, SpaceTuning, Tuning

Collection = Annotated[str, typer.Argument(help="Name of the collection.")]
Recall = Annotated[float, typer.Option(help="Share of the true neighbours to find, above 0 to 1.")]
K = Annotated[int, typer.Option("--k", "-k", help="Number of neighbours that searches will ask for.")]
Queries = Annotated[int, typer.Option("--queries", "-n", help="Number of stored images to search for, drawn at random.")]
Spaces = Annotated[
    list[str] | None, typer.Option("--space", "-s", metavar="SPACE", help="Space to tune (repeatable).", show_default="all")
]
ShowOnly = Annotated[bool, typer.Option("--show-only", help="Do not keep the ef that was found.")]
Seed = Annotated[int, typer.Option(help="Seed of the random draw.")]


def tune(
    context: typer.Context,
    collection: Collection,
    recall: Recall = 0.99,
    k: K = 10,
    queries: Queries = 200,
    space: Spaces = None,
    seed: Seed = 0,
    show_only: ShowOnly = False,
    as_json: AsJson = False,
) -> None:
    """Find the smallest ef (breadth of a search) that finds enough of the true neighbours in a collection.

    Searches for stored images with rising ef, and compares the answers with exact ones over all vectors, which are read once, a
    page at a time. Run it when nothing is being written and the last writes are indexed, which takes Milvus some ten seconds.
    The largest ef that a space needs is kept as the collection's: searches without an ef of their own take it. With --show-only
    nothing is kept, as where some space found no ef that is enough. A collection that is searched exactly, as by Milvus Lite,
    needs no tuning; the command then says so.
    """
    from lookalike import tuning

    with connect(context) as client, _progress() as report:
        found = tuning.tune(
            client, collection, recall=recall, k=k, queries=queries, spaces=space or (), seed=seed, report=report
        )
        if as_json:
            emit_json(found)
        else:
            _print(found)
        if found.ef is not None and not show_only:
            client.update_collection(collection, ef=found.ef)
            note(f"searches of {collection} without an ef of their own take {found.ef:,} now; `collections update` changes it")
    if not found.exact and any(one.ef is None for one in found.spaces):
        raise typer.Exit(exits.UNEXPECTED)


def _progress() -> AbstractContextManager[Report]:
    """A progress bar on a terminal; nothing elsewhere."""
    from contextlib import contextmanager

    from lookalike.cli.progress import bar

    @contextmanager
    def shown() -> Iterator[Report]:
        with bar() as progress:
            task = progress.add_task("tuning", total=None)
            yield lambda what, done, of: progress.update(task, description=what, completed=done, total=of)

    return shown()


def _print(found: Tuning) -> None:
    out = console()
    if found.exact:
        _print_exact(out, found)
        return
    numbers = ("ef", "recall", "median ms")
    rows = table("space", *numbers, "", numbers=numbers)
    for one in found.spaces:
        for step in one.steps:
            enough = "enough" if step.ef == one.ef else ""
            rows.add_row(one.space, f"{step.ef:,}", f"{step.recall:.4f}", f"{step.median_s * 1e3:.1f}", enough)
    what = f"recall@{found.k}, {count_text(found.queries, 'stored image')} searched for among the others of {found.images:,}"
    out.print(what, markup=False, soft_wrap=True)
    put(out, rows)
    for one in found.spaces:
        out.print(_verdict(one, found.recall), markup=False, soft_wrap=True)
    if found.ef is not None and len(found.spaces) > 1:
        note(f"for several spaces fused, use the largest: --ef {found.ef}")


def _print_exact(out: Console, found: Tuning) -> None:
    """There is nothing to tune: print the recall and the time of a search, whatever its ef."""
    line = f"collection {found.collection} is searched exactly, as by Milvus Lite: every search compares with all of its "
    out.print(f"{line}{found.images:,} images and misses none; --ef changes nothing", markup=False, soft_wrap=True)
    for one in found.spaces:
        step = one.steps[-1]
        line = f"{one.space}: recall@{found.k} {step.recall:.4f}, {step.median_s * 1e3:.1f} ms a search"
        out.print(line, markup=False, soft_wrap=True)


def _verdict(one: SpaceTuning, recall: float) -> str:
    last = one.steps[-1]
    if one.ef is None:
        return f"{one.space}: even ef {last.ef:,} finds only {last.recall:.4f} of the true neighbours, not {recall:g}"
    return f"{one.space}: ef {last.ef:,} is enough for {recall:g}"
