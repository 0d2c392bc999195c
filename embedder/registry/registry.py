"""The registry: the versions of models, which of them are in service, and what each name means for new collections.

A folder or any fsspec URL. Written by `lookalike models`, watched by the embedder (`embedder.serving.watching`).

    {name}/model-000007.json           how things stand since change 7, and that change; the highest number counts
    {name}/{fingerprint}/bundle.json   a version, as `embedder.models.bundle` writes it
    {name}/{fingerprint}/weights.npz

No record is ever written over: a change is a new file, made only if its number is free. So of two writers at once one gets the
number; the other gets `FailedPrecondition` (`REGISTRY_CHANGED`), reads what has become of things and decides again. No update
is lost, and none rests on a state that it did not see. (`Artifacts.write_new` says on which file systems that holds.) A change
is written after the files it speaks of, and a reader checks every bundle against its fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from embedder.models import bundle as bundles
from embedder.models.bundle import Bundle
from embedder.registry.record import Change, Record, Version, decoded, encoded
from lookalike.artifacts import Artifacts
from lookalike.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from lookalike.names import check_name

_RECORD = re.compile(r"model-(\d{6,})\.json")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")


class Registry:
    """The registry at `url`; an empty or missing place is an empty registry, made by the first promotion. Thread-safe.

    Raises `InvalidArgument` (`registry`) for a URL that cannot be used or a file that cannot be read, `Unavailable` where the
    file system fails.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        plain = url.removeprefix("file://")
        self._folder = None if "://" in plain or "::" in plain else Path(plain).expanduser()
        try:
            self._files = Artifacts(str(Path(url).expanduser()) if "://" not in url and "::" not in url else url)
        except InvalidArgument as error:
            raise InvalidArgument("registry", f"{_shown(url)} {error.problem}") from error

    def is_there(self) -> bool:
        """Whether its folder exists: one that is not mounted looks like an empty one else. Always true for other file systems,
        most of which know no empty folders."""
        return self._folder is None or self._folder.is_dir()

    def names(self) -> list[str]:
        """Names of the models that it holds, in order."""
        with _as_registry():
            found = self._files.names()
        return [name for name in found if _is_name(name) and self._revisions(name)]

    def find(self, name: str) -> Record | None:
        """How things stand with `name`; None where the registry does not know it."""
        revisions = self._revisions(check_name("model", name))
        return self._read(name, revisions[-1]) if revisions else None

    def get(self, name: str) -> Record:
        """As `find`, but raises `NotFound` ("model") naming those that there are."""
        record = self.find(name)
        if record is None:
            known = ", ".join(self.names()) or "none"
            raise NotFound("model", name, hint=f"the registry {_shown(self.url)} has: {known}", field="model")
        return record

    def history(self, name: str) -> list[Change]:
        """Every change of `name`, oldest first."""
        return [self._read(name, revision).change for revision in self._revisions(check_name("model", name))]

    def load(self, name: str, fingerprint: str) -> Bundle:
        """A version, checked against its fingerprint and name.

        Raises `NotFound` for files that are missing, `InvalidArgument` for files that cannot be read, `FailedPrecondition`
        (`BUNDLE_CORRUPT`) for files that are not those of this version.
        """
        where = f"{check_name('model', name)}/{check_fingerprint(fingerprint)}"
        shown = f"{_shown(self.url).rstrip('/')}/{where}"
        try:
            with _as_registry():
                files = {file: self._files.read(f"{where}/{file}") for file in (bundles.CARD, bundles.WEIGHTS)}
        except NotFound as error:
            missing = error.metadata["name"].rpartition("/")[2]
            raise NotFound("model bundle", shown, hint=f"its {missing} is missing") from error
        bundle = bundles.from_files(files, where=shown)
        if (bundle.name, bundle.fingerprint) != (name, fingerprint):
            raise FailedPrecondition(
                f"bundle {shown} holds {bundle.name}@{bundle.fingerprint}: it lies in the wrong place", reason="BUNDLE_CORRUPT"
            )
        return bundle

    def stamp(self, name: str, fingerprint: str) -> str:
        """Something that changes when a version's files do: whether trying again may help."""
        where = f"{name}/{check_fingerprint(fingerprint)}"
        with _as_registry():
            return " ".join(str(self._files.stamp(f"{where}/{file}")) for file in (bundles.CARD, bundles.WEIGHTS))

    def promote(self, bundle: Bundle, change: Change, *, over: Record | None, keep: Bundle | None = None) -> Record:
        """Make `bundle` live and what its name means from now on; `over` is the record that this was decided on.

        `keep` is added as a live version too: what the name meant where the registry did not know it yet, so that its
        collections do not depend on what the next release ships. Raises `FailedPrecondition` (`REGISTRY_CHANGED`).
        """
        versions = dict(over.versions) if over else {}
        written: dict[str, bytes] = {}
        for added in (keep, bundle):
            if added is not None:
                files = bundles.to_files(added)
                written |= {f"{added.name}/{added.fingerprint}/{file}": content for file, content in files.items()}
                versions[added.fingerprint] = Version(
                    added.fingerprint, "live", change.at,
                    size_bytes=sum(map(len, files.values())), metrics=dict(added.metrics), measured_on=added.measured_on,
                )  # fmt: skip
        self._write(written)
        made = self._append(Record(bundle.name, over.revision + 1 if over else 1, bundle.fingerprint, versions, change))
        # A process that retired this version a moment before may have deleted its files after they were written here.
        with _as_registry():
            gone = {path: content for path, content in written.items() if self._files.stamp(path) is None}
        self._write(gone)
        return made

    def retire(self, over: Record, change: Change, *, delete: bool = False) -> Record:
        """Take version `change.fingerprint` out of service; with `delete` its files go too, unless it was promoted again since.

        Raises what `retirable` does, and `FailedPrecondition` (`REGISTRY_CHANGED`).
        """
        version = retirable(over, change.fingerprint)
        retired_at = version.retired_at or change.at
        after = replace(version, state="retired", retired_at=retired_at, deleted=version.deleted or delete)
        versions = {**over.versions, version.fingerprint: after}
        made = self._append(replace(over, revision=over.revision + 1, versions=versions, change=change))
        if delete:
            newest = self.get(over.name).versions.get(version.fingerprint)
            if newest is not None and newest.state == "retired" and newest.deleted:
                with _as_registry():
                    self._files.delete_tree(f"{over.name}/{version.fingerprint}")
        return made

    def _write(self, files: Mapping[str, bytes]) -> None:
        with _as_registry():
            for path, content in files.items():
                self._files.write(path, content)

    def _append(self, record: Record) -> Record:
        try:
            with _as_registry():
                self._files.write_new(_path(record.name, record.revision), encoded(record))
        except AlreadyExists as error:
            raise FailedPrecondition(
                f"model {record.name!r} was changed in the registry by somebody else at this moment; try again",
                reason="REGISTRY_CHANGED",
            ) from error
        return record

    def _revisions(self, name: str) -> list[int]:
        with _as_registry():
            found = [_RECORD.fullmatch(file) for file in self._files.names(name)]
        return sorted(int(match[1]) for match in found if match)

    def _read(self, name: str, revision: int) -> Record:
        path = _path(name, revision)
        where = f"{_shown(self.url).rstrip('/')}/{path}"
        with _as_registry():
            content = self._files.read(path)
        record = decoded(content, where=where)
        if (record.name, record.revision) != (name, revision):
            raise InvalidArgument("registry", f"{where} speaks of {record.name!r}, revision {record.revision}")
        return record


def retirable(record: Record, fingerprint: str) -> Version:
    """The version, if it may be retired. Raises `NotFound`, and `FailedPrecondition` (`MODEL_CURRENT`) for what its name
    means."""
    version = record.versions.get(fingerprint)
    if version is None:
        known = ", ".join(record.versions)
        raise NotFound("model version", f"{record.name}@{fingerprint}", hint=f"there are: {known}", field="model")
    if fingerprint == record.current:
        raise FailedPrecondition(
            f"{record.name}@{fingerprint} is what {record.name!r} means for new collections: promote another version first",
            reason="MODEL_CURRENT",
        )
    return version


def find_bundle(name_or_folder: str, registry: str | None) -> Bundle:
    """The bundle that a person means: a folder that holds one; else the model of this name in `registry` (a URL, or None: not
    asked), `name` for the current version and `name@fingerprint` for a certain one; else one that ships with the package.

    Raises `NotFound` naming what there is, and what reading a bundle raises.
    """
    folder = Path(name_or_folder).expanduser()
    if (folder / bundles.CARD).exists():
        return bundles.load(folder)
    name, fingerprint = parse_version(name_or_folder) if _is_version(name_or_folder) else ("", "")
    if name:
        places = Registry(registry) if registry else None
        record = places.find(name) if places else None
        version = record.versions.get(fingerprint or record.current) if record else None
        if places and version and not version.deleted:
            return places.load(name, version.fingerprint)
        shipped = shipped_bundle(name)
        if shipped and fingerprint in ("", shipped.fingerprint):
            return shipped
        if version:
            raise NotFound("model bundle", name_or_folder, hint="it was retired and its files were deleted")
    known = ", ".join(sorted({*shipped_names(), *(Registry(registry).names() if registry else ())})) or "none"
    raise NotFound(
        "model bundle", name_or_folder, hint=f"there is no such folder with a {bundles.CARD}, and the models are: {known}"
    )


def shipped_names() -> list[str]:
    """Names of the models that come with the package, in order."""
    return sorted(card.parent.name for card in bundles.SHIPPED.glob(f"*/{bundles.CARD}"))


def shipped_bundle(name: str) -> Bundle | None:
    """The bundle that comes with the package under this name, or None."""
    return bundles.load(bundles.SHIPPED / name) if name in shipped_names() else None


def parse_version(text: str) -> tuple[str, str]:
    """`name@fingerprint` -> both, `name` -> (name, ""). Raises `InvalidArgument` ("model")."""
    name, at, fingerprint = text.partition("@")
    check_name("model", name)
    return name, check_fingerprint(fingerprint) if at else ""


def check_fingerprint(fingerprint: str) -> str:
    """Return `fingerprint` if it is one: 16 hex digits. Raises `InvalidArgument` ("model")."""
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise InvalidArgument(
            "model", f"{fingerprint[:40]!r} is no fingerprint; one has 16 hex digits, such as 0123456789abcdef"
        )
    return fingerprint


@contextmanager
def _as_registry() -> Iterator[None]:
    """What cannot be reached is the registry, not the artifacts of ingest jobs."""
    try:
        yield
    except Unavailable as error:
        raise Unavailable("model registry", error.message.partition(": ")[2]) from error


def _is_version(text: str) -> bool:
    try:
        parse_version(text)
    except InvalidArgument:
        return False
    return True


def _is_name(text: str) -> bool:
    return _is_version(text) and "@" not in text


def _path(name: str, revision: int) -> str:
    return f"{name}/model-{revision:06d}.json"


def _shown(url: str) -> str:
    """Without what may be a password."""
    return re.sub(r"//.*@", "//...@", url)
