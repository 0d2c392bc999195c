"""`lookalike search`: finds the images that look most like a picture, or like each of several."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli import exits
from lookalike.cli.connection import AsJson, Filter, connect
from lookalike.cli.listing import ImageTable
from lookalike.cli.space_options import weights_of
from lookalike.cli.terminal import console, emit_json, emit_json_line, note
from lookalike.errors import BadImage, InvalidArgument, LookalikeError, NotFound
from lookalike.names import MAX_IMAGE_BYTES, MAX_TOP_K

if TYPE_CHECKING:
    from lookalike.client import Client, SearchResult, SearchTiming
    from lookalike.client.options import SearchKeywords


_MS = timedelta(milliseconds=1)

Images = Annotated[
    list[Path] | None,
    typer.Argument(metavar="IMAGE", help="Pictures to look for; - reads one from standard input."),
]
ImageId = Annotated[str | None, typer.Option("--id", help="Look for the stored image with this id instead of files.")]
Collection = Annotated[str, typer.Option("--collection", "-C", help="Collection to search in.")]
Spaces = Annotated[
    list[str] | None,
    typer.Option(
        "--space",
        "-s",
        metavar="SPACE",
        help="Space to search in; several are fused (repeatable).",
        show_default="the collection's, or siamese, or the first that a model fills",
    ),
]
TopK = Annotated[int, typer.Option("--top-k", "-k", help=f"Number of neighbours, 1 to {MAX_TOP_K:,}.")]
Weights = Annotated[
    list[str] | None,
    typer.Option(metavar="SPACE=NUMBER", help="With several spaces: weight of one, such as histogram=0.5 (repeatable)."),
]
Strong = Annotated[bool, typer.Option("--strong", help="See every write that was acknowledged before (slower).")]
Ef = Annotated[int, typer.Option(help="Breadth of the search: a higher one misses fewer; 0 leaves it to the collection.")]
Vectors = Annotated[bool, typer.Option("--vectors", help="With --json: print the vectors too.")]
Timing = Annotated[bool, typer.Option("--timing", help="Say how long the search took in the gateway, and each leg of it.")]


def search(
    context: typer.Context,
    collection: Collection,
    images: Images = None,
    image_id: ImageId = None,
    space: Spaces = None,
    top_k: TopK = 5,
    filter_: Filter = "",
    weight: Weights = None,
    strong: Strong = False,
    ef: Ef = 0,
    vectors: Vectors = False,
    timing: Timing = False,
    as_json: AsJson = False,
) -> None:
    """Find the images of a collection that look most like a picture, nearest first.

    Several pictures are searched in one call, which is faster than one by one. A picture that cannot be used fails alone. With
    --json each of several pictures is a line with its file as "image", and its outcome as "result" or "error".
    """
    if bool(images) == (image_id is not None):
        raise InvalidArgument("IMAGE", "give files, or --id with the id of a stored image (one of the two)")
    from lookalike.client import Consistency, ImageView

    options: SearchKeywords = {
        "spaces": tuple(space or ()),
        "top_k": top_k,
        "filter": filter_,
        "weights": weights_of(weight or []),
        "ef": ef,
        "consistency": Consistency.STRONG if strong else Consistency.BOUNDED,
        "view": ImageView.FULL if vectors else ImageView.BASIC,
        "include_query_vectors": vectors,
    }
    if images and len(images) > 1:
        with connect(context) as client:
            _print_each(_each(client, collection, images, options), timing=timing, as_json=as_json)
        return
    content = _read(images[0]) if images else None
    with connect(context) as client:
        result = client.search(collection, image=content, image_id=image_id, **options)
    if as_json:
        emit_json(result)
    else:
        _print(result, timing=timing)


def _each(
    client: Client, collection: str, paths: Sequence[Path], options: SearchKeywords
) -> Iterator[tuple[Path, SearchResult | LookalikeError]]:
    """The outcome of each of `paths`, in their order; outcomes that come early wait for their turn."""
    from lookalike.client import Query

    known: dict[int, SearchResult | LookalikeError] = {}
    sent: list[int] = []
    given = 0

    def queries() -> Iterator[Query]:
        for place, path in enumerate(paths):
            try:
                query = Query(image=_read(path))
            except LookalikeError as error:
                known[place] = error
                continue
            sent.append(place)
            yield query

    for answer in client.search_many(collection, queries(), **options):
        outcome = answer.result if answer.error is None else answer.error
        assert outcome is not None, "an answer has a result or an error"  # noqa: S101 - the client's own invariant
        known[sent[answer.index]] = outcome
        while given in known:
            yield paths[given], known.pop(given)
            given += 1
    for place in sorted(known):  # Files after the last that could be read.
        yield paths[place], known[place]


def _print_each(found: Iterable[tuple[Path, SearchResult | LookalikeError]], *, timing: bool, as_json: bool) -> None:
    """Print every outcome. Where some failed, end the command with the exit code of the first that did."""
    code = exits.OK
    for path, outcome in found:
        if isinstance(outcome, LookalikeError):
            code = code or exits.exit_code(outcome)
        if as_json:
            emit_json_line({"image": str(path), **_to_record(outcome)})
        elif isinstance(outcome, LookalikeError):
            note(f"lookalike: {path}: {exits.one_line(outcome)}")
        else:
            console().print(str(path), style="bold", markup=False, soft_wrap=True)
            _print(outcome, timing=timing)
    if code:
        raise typer.Exit(code)


def _to_record(outcome: SearchResult | LookalikeError) -> Mapping[str, object]:
    if isinstance(outcome, LookalikeError):
        return {"error": {"reason": outcome.reason, "message": outcome.message}}
    return {"result": outcome}


def _read(path: Path) -> bytes:
    if str(path) == "-":
        content = sys.stdin.buffer.read(MAX_IMAGE_BYTES + 1)
    else:
        try:
            with path.open("rb") as stream:
                content = stream.read(MAX_IMAGE_BYTES + 1)
        except FileNotFoundError as error:
            raise NotFound("file", str(path)) from error
        except OSError as error:
            raise InvalidArgument("IMAGE", f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_IMAGE_BYTES:
        raise BadImage(f"{path} is over {MAX_IMAGE_BYTES:,} bytes", reason="IMAGE_TOO_LARGE")
    return content


def _print(result: SearchResult, *, timing: bool) -> None:
    if timing:
        note(_timing_text(result.timing))
    if not result.neighbours:
        note("nothing found: the collection is empty, or no image matches the filter")
        return
    names = [space.name for space in result.spaces]
    distances = [f"{name}\ndistance" if len(names) > 1 else "distance" for name in names]
    rows = ImageTable(console(), "#", "similarity", *distances, numbers=("#", "similarity", *distances))
    for hit in result.neighbours:
        by_space = {share.space: share.distance for share in hit.shares}
        cells = [f"{by_space[name]:.4f}" if name in by_space else "-" for name in names]
        image = hit.image
        rows.add(str(hit.rank), f"{hit.similarity:.4f}", *cells, image_id=image.id, metadata=image.metadata, uri=image.uri)
    rows.print()


def _timing_text(timing: SearchTiming) -> str:
    """Such as `5.1 ms in the gateway: query vectors 2.0 ms, nearest 3.0 ms`."""
    spans = {field.name: getattr(timing, field.name) for field in dataclasses.fields(timing)}
    total, *legs = (f"{name.replace('_', ' ')} {span / _MS:.1f} ms" for name, span in spans.items() if span is not None)
    return f"{total.removeprefix('total ')} in the gateway: {', '.join(legs)}"
