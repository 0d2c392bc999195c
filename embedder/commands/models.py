"""`lookalike models`: list, show, promote, retire. What a model's name means, and which of its versions are in service."""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from embedder.commands.measuring import check_servable, measuring
from lookalike.cli.connection import options
from lookalike.cli.pages import Commands
from lookalike.cli.terminal import confirm, console, count_text, emit_json, help_of, note
from lookalike.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, LookalikeError, Unavailable

if TYPE_CHECKING:
    from embedder.commands.models_text import Listed
    from embedder.registry.record import Record
    from embedder.registry.registry import Registry
    from lookalike.client import Collection

T = TypeVar("T")

app = Commands(help="List, show, promote and retire versions of models.", no_args_is_help=True)

_TRIES = 5
"""Bounds the tries of a change, which is decided again where another process changed the same model meanwhile."""

RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        envvar="LOOKALIKE_REGISTRY",
        help="Registry of models: a folder or an fsspec URL.",
        show_default="models, in the data folder of `lookalike up`",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Reason = Annotated[str, typer.Option(help="Reason, for the history; required with --force.")]


def registry_url(given: str | None) -> str:
    """`given`, or the folder `models` in the data folder: the one that `lookalike up` uses by default."""
    return given or str(Path(os.environ.get("LOOKALIKE_DATA") or "~/.lookalike").expanduser() / "models")


def list_models(registry: RegistryUrl = None, as_json: AsJson = False) -> None:
    """List the shipped models and those of the registry: every version, with its state and its quality.

    current: the version for new collections. live: served for the collections that were made with it. retired: out of service.
    deleted: retired, and its files are gone.
    """
    from embedder.commands.models_text import print_list

    url = registry_url(registry)
    rows = _listed(url)
    if as_json:
        emit_json({"registry": url, "models": rows})
        return
    print_list(rows)
    note(f"registry: {url}")


def show(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A model, or one version of it by its fingerprint.")],
    registry: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show a version of a model in full, and the history of its name. Its files are read and checked."""
    from embedder.commands.models_text import print_bundle, print_history
    from embedder.models.bundle import card_of
    from embedder.registry.registry import Registry, find_bundle

    url = registry_url(registry)
    bundle = find_bundle(model, url)
    name = bundle.name
    listed = [one for one in _listed(url) if (one.name, one.fingerprint) == (name, bundle.fingerprint)]
    state, source = (listed[0].state, listed[0].source) if listed else ("not in service", model)
    history = Registry(url).history(name) if listed else []
    if as_json:
        emit_json({**card_of(bundle), "state": state, "from": source, "history": history})
        return
    print_bundle(bundle, state, source)
    if history:
        print_history(history)


def promote(
    folder: Annotated[
        str,
        typer.Argument(metavar="FOLDER", help="Folder of a bundle, or NAME@VERSION to return to a version of the registry."),
    ],
    on: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="Dataset to measure both versions on, as for `lookalike evaluate`.",
            show_default="compare the figures of their cards, if these are of the same data",
        ),
    ] = None,
    attacks: Annotated[
        bool, typer.Option("--attacks", help="With --on FOLDER: measure how often an original is found after attacks.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Folder with the dataset's files, if not in a known place.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote it even if it is worse, or cannot be compared.")] = False,
    reason: Reason = "",
    registry: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Add a bundle to the registry and make it the current version of its model, for new collections.

    Refuses a bundle that is worse than the current version on the same data. P@5 decides (the share of right labels among the
    five nearest); without labels, with --attacks, mean R@1 (the share of originals found first). Existing collections keep the
    version that they were made with, which stays in service until it is retired. Embedders that watch the registry load the new
    version by themselves, without a pause.
    """
    from embedder.commands.models_text import print_comparison
    from embedder.registry import promotion
    from embedder.registry.comparison import compare_cards
    from embedder.registry.registry import Registry, find_bundle

    _check_reason(force, reason)
    if attacks and on is None:
        raise InvalidArgument("--attacks", "needs --on FOLDER: the photographs to attack")
    url = registry_url(registry)
    bundle = find_bundle(folder, url)
    check_servable(bundle)
    measure = compare_cards if on is None else measuring(on, attacks=attacks, data=data)
    made = _patiently(
        lambda: promotion.promote(
            Registry(url), bundle,
            by=_who(), measure=measure, force=force, reason=reason.strip(),
            compared=(lambda _: None) if as_json else print_comparison,
        )
    )  # fmt: skip
    if as_json:
        emit_json(made.change if made else None)
    elif made is None:
        note(f"{bundle.name} means {bundle.name}@{bundle.fingerprint} already: nothing to do")
    else:
        was = f", and no longer {made.change.previous}" if made.change.previous else ""
        means = f"[bold]{bundle.name}[/bold] now means {bundle.fingerprint}{was}; collections that exist keep theirs"
        console().print(means, markup=True)
        note(f"embedders that watch {url} take it up at their next look, once it is loaded")


def retire(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="A version, by its fingerprint.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete its files too. They cannot be restored.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Retire it even if collections use it, or may use it.")] = False,
    reason: Reason = "",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Gateway to ask which collections use it.",
            show_default="that of `lookalike --address`",
        ),
    ] = None,
    registry: RegistryUrl = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before files are deleted.")] = False,
) -> None:
    """Take a version out of service. Refused for the current version, and while collections use the version.

    Its files stay unless --delete is given, so that it can be promoted again.
    """
    from embedder.registry.record import Change
    from embedder.registry.registry import Registry, parse_version, retirable

    _check_reason(force, reason)
    name, fingerprint = parse_version(model)
    if not fingerprint:
        raise InvalidArgument("model", f"{model!r} names no version; `lookalike models show {name}` lists them")
    places = Registry(registry_url(registry))
    retirable(_known(places, name), fingerprint)
    users = _users(context, address, name, fingerprint, force=force)
    if users and not force:
        shown = ", ".join(users[:5]) + (", ..." if len(users) > 5 else "")
        raise FailedPrecondition(
            f"{model} is used by {count_text(len(users), 'collection')} ({shown}), which could not be searched by image "
            "without it; delete them, or use --force",
            reason="MODEL_IN_USE",
        )
    if delete:
        confirm(f"Delete the files of {model}?", yes=yes)

    def decide() -> None:
        change = Change("retire", fingerprint, datetime.now(UTC), _who(), reason=reason.strip(), forced=force)
        places.retire(places.get(name), change, delete=delete)

    _patiently(decide)
    console().print(f"retired {model}" + (" and deleted its files" if delete else "; its files stay"))


def _listed(url: str) -> list[Listed]:
    """Every version, by name: the current one, the live ones, the retired ones."""
    from embedder.commands.models_text import Listed
    from embedder.models.bundle import SHIPPED
    from embedder.registry.registry import Registry, shipped_bundle, shipped_names

    registry, rows = Registry(url), []
    known = registry.names()
    for name in sorted({*known, *shipped_names()}):
        record = registry.get(name) if name in known else None
        rows += [
            Listed(
                name, one.fingerprint, "current" if record and one.fingerprint == record.current else one.state, "registry",
                one.metrics or {}, one.measured_on, 0 if one.deleted else one.size_bytes, one.added_at, one.deleted,
            )
            for one in (record.versions.values() if record else ())
        ]  # fmt: skip
        try:
            shipped = shipped_bundle(name)
        except LookalikeError as error:
            note(f"the shipped model {name} cannot be read: {error.message}")
            continue
        if shipped and not (record and shipped.fingerprint in record.versions):
            size_bytes = sum(file.stat().st_size for file in (SHIPPED / name).iterdir())
            rows.append(
                Listed(
                    name, shipped.fingerprint, "live" if record else "current", "shipped",
                    shipped.metrics, shipped.measured_on, size_bytes, None,
                )
            )  # fmt: skip
    order = ("current", "live", "retired")
    return sorted(rows, key=lambda one: (one.name, order.index(one.state)))


def _known(registry: Registry, name: str) -> Record:
    from embedder.registry.registry import shipped_names

    if registry.find(name) is None and name in shipped_names():
        raise FailedPrecondition(
            f"{name!r} comes with the package and is not in the registry: which folders an embedder always serves, its setting "
            "LOOKALIKE_EMBEDDER_MODELS says",
            reason="MODEL_SHIPPED",
        )
    return registry.get(name)


def _users(context: typer.Context, address: str | None, name: str, fingerprint: str, *, force: bool) -> list[str]:
    """Names of the collections that were made with this version. With `force`, none where the gateway does not answer."""
    from lookalike.client import Client

    given = options(context)
    try:
        with Client(address or given.address, given.timeout_s) as client:
            collections = client.list_collections()
    except (Unavailable, DeadlineExceeded) as error:
        if force:
            note(f"the gateway could not be asked which collections use it: {error.message}")
            return []
        raise FailedPrecondition(
            f"which collections use it is not known: {error.message}; start the system, name its gateway by --address, or "
            "use --force",
            reason="GATEWAY_UNREACHABLE",
        ) from error
    return [one.name for one in collections if _uses(one, name, fingerprint)]


def _uses(collection: Collection, model: str, fingerprint: str) -> bool:
    """Whether one of its generations was made with this version."""
    other = () if collection.other is None else collection.other.spaces
    return any((space.model, space.fingerprint) == (model, fingerprint) for space in (*collection.spaces, *other))


def _check_reason(force: bool, reason: str) -> None:
    if force and not reason.strip():
        raise InvalidArgument("--reason", "is needed with --force: it is kept in the history")


def _patiently(decide: Callable[[], T]) -> T:
    """`decide`, anew as long as another process changes the same model between its looking and its writing."""
    for left in reversed(range(_TRIES)):
        try:
            return decide()
        except FailedPrecondition as error:
            if error.reason != "REGISTRY_CHANGED" or not left:
                raise
    raise AssertionError  # pragma: no cover - the loop returns or raises


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{platform.node()}"


app.command("list", help=help_of(list_models))(list_models)
app.command("show", help=help_of(show))(show)
app.command("promote", help=help_of(promote))(promote)
app.command("retire", help=help_of(retire))(retire)
