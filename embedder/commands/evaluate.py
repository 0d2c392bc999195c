"""`lookalike evaluate`: how good a model, a running collection, or plain histograms are at finding what is alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.commands.keras_import import import_keras
from embedder.commands.models import RegistryUrl, registry_url
from lookalike.cli.connection import options
from lookalike.cli.terminal import emit_json, note
from lookalike.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from embedder.evaluation.vectors import Report
    from lookalike.spaces import HistogramSettings

COLLECTION = "collection:"
_LINE_EVERY_S = 15.0

SubjectName = Annotated[
    str,
    typer.Argument(
        metavar="SUBJECT",
        help="Subject to measure: a bundle's folder, a model's name, or collection:NAME of a running system.",
        show_default=False,
    ),
]
Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="fashion-mnist, a folder with a sub-folder per class, or a .csv or .parquet file of (uri, label). "
        "With --attacks: a folder of photographs.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE.html", help="Write a report too, as one self-contained file.")
]
Attacks = Annotated[bool, typer.Option("--attacks", help="Near-duplicate test: find the original of each changed photograph.")]
Distractors = Annotated[
    Path | None, typer.Option(help="With --attacks: folder of further photographs to search among.", metavar="FOLDER")
]
Seed = Annotated[int, typer.Option(min=0, help="With --attacks: seed of the crops and stickers.")]
Histograms = Annotated[
    list[str] | None,
    typer.Option(
        "--histogram",
        metavar="SETTINGS",
        help="Measure this histogram too, such as bins=16,grid=4,color (repeatable). 256 grey bins are always measured.",
    ),
]
Data = Annotated[Path | None, typer.Option(help="Folder with the dataset's files, if not in a known place.")]
UriColumn = Annotated[str, typer.Option(help="Column of a file that holds the URIs.")]
LabelColumn = Annotated[str, typer.Option(help="Column of a file that holds the labels.")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="With collection:NAME: address of the gateway's gRPC.",
        show_default="that of `lookalike --address`",
    ),
]
LabelKey = Annotated[str, typer.Option(help="With collection:NAME: metadata key of the stored images' labels.")]
Depth = Annotated[
    int, typer.Option(help="With collection:NAME: neighbours to ask for to compute mAP, 10 to 1,000; 0 leaves mAP out.")
]
Limit = Annotated[
    int | None,
    typer.Option(min=0, help="Search with N pictures, evenly spread; 0: all.", show_default="all; 1,000 of a collection"),
]


def evaluate_command(
    context: typer.Context,
    subject: SubjectName,
    dataset: Dataset,
    as_json: AsJson = False,
    report_file: ReportFile = None,
    attacks: Attacks = False,
    distractors: Distractors = None,
    seed: Seed = 1,
    histogram: Histograms = None,
    data: Data = None,
    uri_column: UriColumn = "uri",
    label_column: LabelColumn = "label",
    registry: RegistryUrl = None,
    address: Address = None,
    label_key: LabelKey = "label",
    depth: Depth = 1000,
    limit: Limit = None,
) -> None:
    """Measure how well a model finds what is alike, beside plain histograms.

    The 10,000 test pictures of fashion-mnist are looked for among its 60,000 training pictures, and every picture of any other
    dataset among all its others. Vectors are those of the serving path, and the search is exact. With collection:NAME the
    pictures are looked for in a running system instead, with the misses of its index.

    Prints a table, or with --json one object. --report writes a page with curves, confusions, a map, and the best and worst
    queries. Progress goes to standard error.
    """
    _check(subject, dataset, attacks, distractors, histogram, report_file)
    import_keras()
    if attacks:
        _attacks(subject, Path(dataset), distractors, seed, registry, as_json, report_file)
        return
    with _progress() as report, ExitStack() as until_written:
        if subject.startswith(COLLECTION):
            from embedder.evaluation.asking import QUERIES, Plan
            from embedder.evaluation.collection import evaluate_collection
            from lookalike.client import Client

            given = options(context)
            client = until_written.enter_context(Client(address or given.address, given.timeout_s))
            found = evaluate_collection(
                client, subject.removeprefix(COLLECTION), dataset,
                data=data, uri_column=uri_column, label_column=label_column, label_key=label_key,
                plan=Plan(QUERIES if limit is None else limit, depth), report=report,
            )  # fmt: skip
        else:
            from embedder.evaluation.labelled import evaluate_bundle
            from embedder.registry.registry import find_bundle

            found = evaluate_bundle(
                find_bundle(subject, registry_url(registry)), dataset,
                data=data, uri_column=uri_column, label_column=label_column,
                histograms=histogram_settings(histogram or []), limit=limit or 0, report=report,
            )  # fmt: skip
        if report_file is not None:  # while the gateway's thumbnails can be had
            from embedder.evaluation.report import evaluation_report

            report_file.write_text(evaluation_report(found, report), encoding="utf-8", errors="replace")
    if as_json:
        emit_json(found.to_json())
    else:
        from embedder.evaluation.table import print_evaluation

        print_evaluation(found)
    if report_file is not None:
        note(f"wrote {report_file}")


def histogram_settings(given: list[str]) -> tuple[HistogramSettings, ...]:
    """The 256-bin baseline, then those `given` (`bins=16,grid=4,color`). Raises `InvalidArgument`."""
    from lookalike.spaces import HistogramSettings

    found = [HistogramSettings()]
    for text in given:
        numbers: dict[str, int] = {}
        color = False
        for part in text.split(","):
            key, _, value = part.strip().partition("=")
            if key in ("bins", "grid") and value.isascii() and value.isdigit():
                numbers[key] = int(value)
            elif key in ("color", "colour") and not value:
                color = True
            else:
                raise InvalidArgument("--histogram", f"{text!r} is not like bins=16,grid=4,color")
        settings = HistogramSettings(**numbers, color=color)
        if settings not in found:
            found.append(settings)
    return tuple(found)


def _check(
    subject: str, dataset: str, attacks: bool, distractors: Path | None, histogram: list[str] | None, report_file: Path | None
) -> None:
    """What does not go together, before anything slow is begun."""
    asks = subject.startswith(COLLECTION)
    if asks and attacks:
        raise InvalidArgument("--attacks", "measures a model, not a collection: name a bundle")
    if asks and histogram:
        raise InvalidArgument("--histogram", "the histograms that a collection has are measured, and no others")
    if histogram and attacks:
        raise InvalidArgument("--histogram", "has no part in --attacks")
    for folder in (Path(dataset), distractors) if attacks else ():
        if folder is not None and not folder.is_dir():
            raise NotFound("folder", str(folder), hint="--attacks needs a folder of photographs")
    if distractors is not None and not attacks:
        raise InvalidArgument("--distractors", "has a part in --attacks only")
    histogram_settings(histogram or [])
    if report_file is not None and not report_file.absolute().parent.is_dir():
        raise NotFound("folder", str(report_file.absolute().parent), hint="the report cannot be written there")


def _attacks(
    subject: str,
    folder: Path,
    distractors: Path | None,
    seed: int,
    registry: str | None,
    as_json: bool,
    report_file: Path | None,
) -> None:
    from embedder.evaluation.attacks import evaluate_attacks
    from embedder.evaluation.labelled import subject_of
    from embedder.evaluation.table import attacks_json, print_attacks
    from embedder.registry.registry import find_bundle

    bundle = find_bundle(subject, registry_url(registry))
    with _progress() as report:
        heard = partial(report, "attacking photographs")
        found = evaluate_attacks(bundle, folder, distractors=distractors, seed=seed, report=heard)
    about = subject_of(bundle)
    if report_file is not None:
        from embedder.evaluation.attack_report import attack_report

        report_file.write_text(attack_report(about, found), encoding="utf-8", errors="replace")
    if as_json:
        emit_json(attacks_json(about, found))
    else:
        print_attacks(about, found)
    if report_file is not None:
        note(f"wrote {report_file}")


@contextmanager
def _progress() -> Iterator[Report]:
    """A bar on a terminal; elsewhere a line for every stage, and now and then within one."""
    from lookalike.cli.progress import bar

    with bar() as shown:
        tasks: dict[str, object] = {}
        noted_s = 0.0

        def report(what: str, done: int, of: int) -> None:
            nonlocal noted_s
            if what not in tasks:
                for task in shown.task_ids:
                    shown.update(task, visible=False)
                tasks[what] = shown.add_task(what, total=of)
                if shown.disable:
                    noted_s = time.monotonic()
                    note(f"{what}: {of:,}")
            elif shown.disable and time.monotonic() - noted_s > _LINE_EVERY_S and done < of:
                noted_s = time.monotonic()
                note(f"{what}: {done:,} of {of:,}")
            shown.update(tasks[what], completed=done, total=of)  # type: ignore[arg-type]

        yield report
