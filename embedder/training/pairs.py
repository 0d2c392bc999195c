"""Pairs that a file names: which pictures there are, and of which two it says whether they are the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.datasets.listings import Listing, Skipped, base_of, distinct, existing, resolved, unusable
from embedder.datasets.tables import read_columns
from embedder.training.mining import Pairs
from lookalike.errors import InvalidArgument

COLUMNS = ("uri_a", "uri_b", "same")
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")


@dataclass(frozen=True)
class PairListing:
    """`pictures` (without labels), each once, and `pairs` of their rows."""

    pictures: Listing
    pairs: Pairs


def list_pairs(source: str, *, data: Path | None = None) -> PairListing:
    """The pairs of a `.csv` or `.parquet` file with the columns `uri_a`, `uri_b` and `same` (1 or 0, true or false, yes or no).
    Relative paths start from `data`, else from the file's folder.

    Skipped: a row whose `same` is none of these or that names a picture that cannot be used, a picture with itself, and two
    pictures that stand there twice; of two rows that contradict each other, both. Raises what `list_labelled` does, and
    `InvalidArgument` where there are not both pairs of the same and of different things.
    """
    path = existing(source)
    if path.is_dir():
        raise InvalidArgument(
            "dataset", f"{path} is a folder; pairs are named by a .csv or .parquet file ({', '.join(COLUMNS)})"
        )
    base = base_of(path, data)
    skipped: list[Skipped] = []
    rows: list[tuple[str, str, int]] = []
    for number, (first, second, same) in enumerate(read_columns(path, COLUMNS), 1):
        if not first or not second or same.lower() not in _YES + _NO:
            wrong = "two URIs" if not first or not second else f"1 or 0 in the column 'same' (found {same[:20]!r})"
            skipped.append(Skipped(first, f"row {number} has not {wrong}"))
        else:
            rows.append((resolved(first, base), resolved(second, base), int(same.lower() in _YES)))
    problems: list[Skipped] = []
    names = dict.fromkeys(uri for row in rows for uri in row[:2])
    same_as: dict[str, str] = {}
    uris = tuple(uri for uri, _ in distinct([(uri, "") for uri in names], problems, same_as))
    # A picture under two names is one picture: its pairs count, so it is not skipped.
    skipped += [problem for problem in problems if problem.uri not in same_as]
    places = {uri: row for row, uri in enumerate(uris)}
    places |= {uri: places[first] for uri, first in same_as.items()}
    pairs = _pairs(rows, places, skipped)
    if not 0 < pairs.same.sum() < len(pairs):
        raise unusable(path, "must name pairs of the same and of different things", skipped)
    pictures = Listing(path.name, uris, np.zeros(len(uris), np.int32), (), skipped=tuple(skipped))
    return PairListing(pictures, pairs)


def kept_pairs(listed: PairListing, uris: tuple[str, ...]) -> Pairs:
    """The pairs of which both pictures are among `uris` (those that could be decoded), as rows of these."""
    rows = np.full(len(listed.pictures), -1, np.int64)
    places = {uri: row for row, uri in enumerate(uris)}
    for row, uri in enumerate(listed.pictures.uris):
        rows[row] = places.get(uri, -1)
    first, second = rows[listed.pairs.first], rows[listed.pairs.second]
    there = (first >= 0) & (second >= 0)
    return Pairs(first[there], second[there], listed.pairs.same[there])


def _pairs(rows: list[tuple[str, str, int]], places: dict[str, int], skipped: list[Skipped]) -> Pairs:
    said: dict[tuple[int, int], list[int]] = {}
    for first, second, same in rows:
        if first not in places or second not in places:
            continue  # its picture is among the skipped
        a, b = sorted((places[first], places[second]))
        if a == b:
            skipped.append(Skipped(first, "a pair of a picture with itself"))
        elif (a, b) in said:
            said[a, b].append(same)
            reason = "the same pair again" if len(set(said[a, b])) == 1 else "a pair that is said to be the same and different"
            skipped.append(Skipped(first, f"{reason}, with {second}"))
        else:
            said[a, b] = [same]
    kept = [(a, b, same[0]) for (a, b), same in said.items() if len(set(same)) == 1]
    columns = np.array(kept, np.int64).reshape(-1, 3)
    return Pairs(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.int32))
