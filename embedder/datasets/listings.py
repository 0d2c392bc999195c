"""Where the pictures of a dataset are: in a folder, in a CSV or Parquet file of URIs, or Fashion-MNIST's by its name.

Owns how a dataset is named, and which of its pictures cannot be used. Such a picture is skipped, with its URI and the reason;
an error is for a dataset that cannot be used at all. Nothing is decoded here: `sources`, which offers this too, does that.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedder.datasets.tables import read_columns
from lookalike.errors import InvalidArgument, LookalikeError, NotFound
from lookalike.items import open_file, path_of, resolve_uri, unreadable
from lookalike.listing import list_folder
from lookalike.listing.choosing import Chooser

FASHION = "fashion-mnist"
TABLES = (".csv", ".parquet")
Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture (or a row of a file, or a class's folder) that is not used, and why."""

    uri: str
    reason: str


def reason_of(error: LookalikeError) -> str:
    """What to say of a picture that is skipped for `error`."""
    return getattr(error, "problem", "") or error.message


@dataclass(frozen=True)
class Listing:
    """Where the pictures of a dataset are; nothing is decoded yet.

    `labels` int32 `[n]` index `classes` (without labels: all 0, and no classes). Every picture is there, none twice, none the
    only one of its class; those that are not so are `skipped`. `pixels` (uint8 `[n, side, side]`) is what a dataset of pixels
    holds in place of files; its URIs are names only.
    """

    name: str
    uris: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    classes: tuple[str, ...]
    licence: str = ""
    source: str = ""
    skipped: tuple[Skipped, ...] = ()
    pixels: npt.NDArray[np.uint8] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.uris)

    def rows(self, chosen: npt.NDArray[np.int64]) -> Listing:
        """The pictures of the rows `chosen` (an index array), with the same classes; what was skipped is not listed again."""
        uris = tuple(self.uris[i] for i in chosen)
        pixels = None if self.pixels is None else self.pixels[chosen]
        return replace(self, uris=uris, labels=self.labels[chosen], pixels=pixels, skipped=())


def list_labelled(
    dataset: str,
    *,
    split: Split = "train",
    data: Path | None = None,
    uri_column: str = "uri",
    label_column: str = "label",
) -> Listing:
    """The pictures of `dataset` and their classes.

    `dataset` is `fashion-mnist` (its `split`; its files in `data`, or where `lookalike.fashion_mnist` looks), a folder with one
    sub-folder per class, or a `.csv` or `.parquet` file with a column of URIs and one of labels; relative paths in it start
    from `data`, else from the file's folder. Skipped: what is missing, empty or no file, a picture that is there twice, one
    that is there under two labels, the only picture of a class, and a class without pictures.

    Raises `NotFound`, and `InvalidArgument` for a dataset that is none of these, a file that cannot be read or has no such
    column (the message names those it has), and one without two pictures of a class.
    """
    if dataset == FASHION:
        return _fashion(split, data)
    path = existing(dataset)
    skipped: list[Skipped] = []
    if path.is_dir():
        rows = list(_labelled_files(path, skipped))
    else:
        table = read_columns(path, (uri_column, label_column))
        rows = list(_labelled_rows(table, base_of(path, data), skipped))
    usable = distinct(rows, skipped)
    counts = Counter(label for _, label in usable)
    kept = [(uri, label) for uri, label in usable if counts[label] > 1]
    skipped += [Skipped(uri, f"the only picture of class {label!r}") for uri, label in usable if counts[label] == 1]
    if not kept:
        raise unusable(path, "holds no class with two pictures", skipped)
    classes = tuple(sorted({label for _, label in kept}, key=_in_order))
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[label] for _, label in kept], np.int32)
    return Listing(path.name, tuple(uri for uri, _ in kept), labels, classes, skipped=tuple(skipped))


def list_pictures(source: str, *, data: Path | None = None, uri_column: str = "uri") -> Listing:
    """The pictures of a folder and its sub-folders, or of a `.csv` or `.parquet` file of URIs, without labels.

    Skips and raises as `list_labelled` does, but for what has to do with classes.
    """
    path = existing(source)
    skipped: list[Skipped] = []
    if path.is_dir():
        rows = [(uri, "") for uri, _ in _files(path, skipped)]
    else:
        base = base_of(path, data)
        rows = [(resolved(row[0], base), "") for row in read_columns(path, (uri_column,)) if row[0]]
    usable = distinct(rows, skipped)
    if not usable:
        raise unusable(path, "holds no picture that can be used", skipped)
    uris = tuple(uri for uri, _ in usable)
    return Listing(path.name, uris, np.zeros(len(uris), np.int32), (), skipped=tuple(skipped))


def _fashion(split: Split, folder: Path | None) -> Listing:
    from embedder.datasets.data import fashion_mnist_images  # imports Keras, which listing files does not need

    images = fashion_mnist_images(split, folder)
    uris = tuple(f"{FASHION}:{split}/{row:05d}" for row in range(len(images)))
    pixels = images.pixels[..., 0]
    return Listing(images.name, uris, images.labels, images.classes, images.licence, images.source, (), pixels)


def existing(dataset: str) -> Path:
    """The folder or file that `dataset` names. Raises `NotFound`, and `InvalidArgument` for another kind of file."""
    path = Path(dataset).expanduser()
    if not path.exists():
        hint = f"name a folder, a .csv or .parquet file, or {FASHION}"
        raise NotFound("dataset", dataset, hint=hint, field="dataset")
    if not path.is_dir() and path.suffix.lower() not in TABLES:
        raise InvalidArgument("dataset", f"{dataset} is neither a folder nor a .csv or .parquet file")
    return Path(os.path.normpath(path.absolute()))


def _files(root: Path, skipped: list[Skipped]) -> Iterator[tuple[str, str]]:
    """(URI, first sub-folder) of the pictures under `root`."""
    for item in list_folder(root, labels_from_folders=True):
        if item.problem:
            skipped.append(Skipped(item.uri, item.problem))
        else:
            yield item.uri, str(item.metadata.get("label", ""))


def _labelled_files(root: Path, skipped: list[Skipped]) -> Iterator[tuple[str, str]]:
    seen = set()
    for uri, label in _files(root, skipped):
        if label:
            seen.add(label)
            yield uri, label
        else:
            skipped.append(Skipped(uri, "lies beside the classes' folders, not in one"))
    usual = Chooser()
    folders = (
        folder for folder in sorted(root.iterdir())
        if folder.is_dir() and not usual.of_entry((folder.name,), is_folder=True)
    )  # fmt: skip
    empty = (folder for folder in folders if os.fsencode(folder.name).decode("utf-8", "replace") not in seen)
    skipped += [Skipped(folder.as_uri(), "a class's folder without a picture") for folder in empty]


def _labelled_rows(rows: Iterable[tuple[str, ...]], base: str, skipped: list[Skipped]) -> Iterator[tuple[str, str]]:
    for number, (uri, label) in enumerate(rows, 1):
        if uri and label:
            yield resolved(uri, base), label
        else:
            skipped.append(Skipped(uri, f"row {number} has no {'label' if uri else 'URI'}"))


def base_of(path: Path, data: Path | None) -> str:
    """What relative paths in the file `path` start from."""
    return (path.parent if data is None else data.absolute()).as_uri()


def resolved(uri: str, base: str) -> str:
    """`uri` as it stands in a file, relative ones taken from `base`."""
    try:
        return resolve_uri(uri, base)
    except (InvalidArgument, ValueError):
        return uri  # skipped, with a reason, when it is opened


def distinct(
    rows: list[tuple[str, str]], skipped: list[Skipped], same_as: dict[str, str] | None = None
) -> list[tuple[str, str]]:
    """The pairs of (URI, label) that are there, each content once. Of one content under two labels either may be wrong.

    `same_as`, where given, receives the URI of each picture that is left out for another, and that of the other.
    """
    sizes = [_size_bytes(uri, skipped) for uri, _ in rows]
    often = Counter(sizes)
    first: dict[str, int] = {}
    doubles: dict[int, list[int]] = {}
    kept = []
    for row, size_bytes in enumerate(sizes):
        if size_bytes is None:
            continue
        # Only files of one length can be the same: the others need not be read.
        content = _digest(rows[row][0], skipped) if often[size_bytes] > 1 else f"row {row}"
        if content is None:
            continue
        if content in first:
            doubles.setdefault(first[content], []).append(row)
        else:
            first[content] = row
            kept.append(row)
    quarrels = {one for one, others in doubles.items() if any(rows[other][1] != rows[one][1] for other in others)}
    for one, others in doubles.items():
        if one in quarrels:
            labels = ", ".join(sorted({repr(rows[row][1]) for row in (one, *others)}))
            skipped += [Skipped(rows[row][0], f"the same picture is labelled {labels}") for row in (one, *others)]
            continue
        skipped += [Skipped(rows[row][0], f"the same picture as {rows[one][0]}") for row in others]
        if same_as is not None:
            same_as |= {rows[row][0]: rows[one][0] for row in others}
    return [rows[row] for row in kept if row not in quarrels]


def _size_bytes(uri: str, skipped: list[Skipped]) -> int | None:
    try:
        path = path_of(uri)
        size_bytes = path.stat().st_size
        if not path.is_file():
            raise unreadable(path, "is not a file")
    except LookalikeError as error:
        problem = reason_of(error)
    except FileNotFoundError:
        problem = "there is no such file"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    else:
        if size_bytes:
            return size_bytes
        problem = "the file is empty"
    skipped.append(Skipped(uri, problem))
    return None


def _digest(uri: str, skipped: list[Skipped]) -> str | None:
    try:
        with open_file(path_of(uri)) as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except (LookalikeError, OSError) as error:
        skipped.append(Skipped(uri, str(error)))
        return None


def unusable(path: Path, problem: str, skipped: list[Skipped]) -> InvalidArgument:
    """`path` as a dataset that cannot be used at all, with the first of what was skipped."""
    first = f"; skipped: {len(skipped):,}, the first: {skipped[0].uri}: {skipped[0].reason}" if skipped else ""
    return InvalidArgument("dataset", f"{path} {problem}{first}")


def _in_order(label: str) -> tuple[int, int, str]:
    """Numbers as numbers, before words."""
    return (0, int(label), label) if label.isascii() and label.isdigit() else (1, 0, label)
