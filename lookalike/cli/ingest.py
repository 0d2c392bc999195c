"""`lookalike ingest`: adds pictures to a collection. They are uploaded, or the workers read them in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli.connection import RequestId, connect
from lookalike.cli.space_options import Bins, Color, Given, Grid, Model, Spaces, differs, spaces_text
from lookalike.cli.terminal import count_text, emit_json, note
from lookalike.errors import AlreadyExists, FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from lookalike.cli.sending import Reading
    from lookalike.client import Client, Job, NearDuplicatePolicy, Source, SpaceSpec, Upload, UploadItem

SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder (with its sub-folders), a manifest (.csv, .jsonl, .parquet or .txt), a tar file (.tar, .tar.gz) or a "
        "picture; with --in-place also an s3:// URL of any of these, or the URL of a picture.",
    ),
]
Collection = Annotated[str, typer.Option("--collection", "-C", help="Collection to add to.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Follow the job to its end, with rate and time left.")]
LabelsFromFolders = Annotated[
    bool, typer.Option("--labels-from-folders", help="Label each picture with the name of its sub-folder.")
]
Archives = Annotated[
    bool, typer.Option("--archives", help="Read the tar files in the folder, such as WebDataset's shards, not its pictures.")
]
InPlace = Annotated[
    bool, typer.Option("--in-place", help="Upload nothing: the workers read SOURCE, which lies inside their source roots.")
]
Create = Annotated[bool, typer.Option("--create", help="Create the collection if it does not exist.")]
NearDuplicates = Annotated[
    str,
    typer.Option(
        metavar="keep|skip|link",
        help="What to do with a near-duplicate of another image of the collection; link notes the id of that image in the "
        "metadata. Finds copies that were saved again, scaled, trimmed or brightened, and distinguishes pages of text.",
    ),
]
NearThreshold = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Least similarity of a near-duplicate, which must also stand out from all other images. Of copies of photographs "
        "0.95 finds 97% at JPEG quality 75, 76% at 30, 93% at 256 pixels, 89% with 5% trimmed off each side.",
    ),
]
Mirror = Annotated[
    bool,
    typer.Option(
        "--mirror",
        help="At the end, delete the images that SOURCE does not have: for a folder in place those whose URI lies in it, "
        "else all others of the collection.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Leave out files that match, such as '*.gif', 'drafts/' or '/2019/**/raw'. Without a slash a pattern matches any "
        "name, with a slash the path below SOURCE (repeatable).",
    ),
]
IncludeHidden = Annotated[
    bool,
    typer.Option(
        "--include-hidden",
        help="Do not skip hidden files and those that systems leave behind (@eaDir, #recycle ...).",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Write nothing: list SOURCE, try up to 100 items, and forecast the job.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the job as JSON instead of text.")]


def ingest(
    context: typer.Context,
    source: SourceName,
    collection: Collection,
    watch: Watch = False,
    labels_from_folders: LabelsFromFolders = False,
    archives: Archives = False,
    in_place: InPlace = False,
    exclude: Exclude = None,
    include_hidden: IncludeHidden = False,
    request_id: RequestId = "",
    create: Create = False,
    space: Spaces = None,
    model: Model = "",
    bins: Bins = 256,
    grid: Grid = 1,
    color: Color = False,
    near_duplicates: NearDuplicates = "keep",
    near_threshold: NearThreshold = 0.95,
    mirror: Mirror = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Add pictures to a collection, by a job that continues if this command is stopped.

    A manifest has a column (or key) uri and may have id; every other column becomes metadata. A .txt has one URI per line. In a
    tar file the metadata of a picture is in a .json or .txt file of the same name.

    Exits with 0 if the job was started; with --watch, with 0 if every item is in the collection and with 6 if some are not.
    """
    from lookalike.cli.progress import follow
    from lookalike.cli.sending import Reading
    from lookalike.client import IngestOptions
    from lookalike.listing.choosing import Choice, check_globs

    specs = Given(space or (), model, bins, grid, color).specs
    if not create and specs:
        raise InvalidArgument("--create", "is needed with --space, --model, --bins, --grid and --color: spaces are fixed then")
    reading = Reading(labels_from_folders, archives, Choice(check_globs("--exclude", exclude or ()), include_hidden))
    options = IngestOptions(policy_of(near_duplicates), near_threshold, mirror, dry_run)
    watch = watch or dry_run  # The forecast, which comes at the end, is the purpose of a dry run.
    with connect(context) as client:
        if create:
            ensure_collection(client, collection, specs)
        job_source = source_of(client, collection, source, reading, in_place=in_place)
        job = client.create_ingest_job(collection, job_source, request_id=request_id, options=options)
        if watch:
            job = follow(client, job.id)
        _show(client, job, watched=watch, as_json=as_json)


def source_of(client: Client, collection: str, source: str, reading: Reading, *, in_place: bool) -> Source:
    """The source of the job: an upload made here, or a place that the workers read."""
    from lookalike.cli.in_place import name_in_place
    from lookalike.cli.sending import source_here
    from lookalike.client import UploadSource

    if in_place:
        return name_in_place(client, collection, source, reading)
    upload = send(client, collection, source_here(source), reading)
    note(upload_text(upload))
    return UploadSource(upload.id)


def policy_of(name: str) -> NearDuplicatePolicy:
    """The policy that the command line names. Raises `InvalidArgument`."""
    from lookalike.client import NearDuplicatePolicy

    try:
        return NearDuplicatePolicy(name)
    except ValueError:
        raise InvalidArgument("--near-duplicates", f"{name!r} is not one of keep, skip and link") from None


def _show(client: Client, job: Job, *, watched: bool, as_json: bool) -> None:
    """Print the job. Where it was watched, end the command with the exit code of its end."""
    from lookalike.cli.progress import exit_code_of, print_job

    if as_json:
        emit_json(job)
    elif watched:
        print_job(client, job)
    else:
        typer.echo(job.id)
        note(f"job {job.id} has started; `lookalike jobs watch {job.id}` follows it")
    if watched:
        raise typer.Exit(exit_code_of(job))


def ensure_collection(client: Client, name: str, specs: Sequence[SpaceSpec]) -> None:
    """Create the collection with the spaces of `specs`, or the default ones, unless it exists. Raises `FailedPrecondition`
    where it has other spaces than `specs`."""
    try:
        client.create_collection(name, spaces=specs)
        note(f"created collection {name}")
        return
    except AlreadyExists:
        if not specs:
            return
    found = client.get_collection(name)
    if differs(specs, found.spaces):
        raise FailedPrecondition(
            f"collection {name!r} exists with the spaces {spaces_text(found.spaces)}; leave the options out to add to it, or "
            "choose another name",
            reason="COLLECTION_DIFFERS",
        )


def send(client: Client, collection: str, source: Path, reading: Reading) -> Upload:
    """Upload all that `source` holds and `reading` does not leave out, in one stream, with a progress bar."""
    from lookalike.cli.progress import bar
    from lookalike.cli.sending import list_source, upload_items
    from lookalike.items import LEFT_OUT

    with bar() as progress:
        found = Counter(item.problem_reason in LEFT_OUT for item in list_source(source, reading))
        total, left_out = found.total(), found[True]
        if total == left_out:
            hint = "" if reading.archives else "; --archives reads the tar files in a folder"
            rest = f" except {left_out:,} that are hidden, left behind by a system or excluded" if left_out else ""
            raise InvalidArgument("SOURCE", f"{source} holds no pictures{rest}{hint}")
        task = progress.add_task("uploading", total=total)

        def items() -> Iterator[UploadItem]:
            for item in upload_items(source, reading):
                yield item
                progress.advance(task)

        return client.upload(collection, items())


def upload_text(upload: Upload) -> str:
    """`uploaded 9,000 items, 4.6 MB`."""
    return f"uploaded {count_text(upload.items, 'item')}, {upload.size_bytes / 1e6:,.1f} MB"
