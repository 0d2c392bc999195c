"""Lists of pictures in a file, whose suffix gives the format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.items import Item, open_file
from lookalike.listing.text import Check, csv_items, jsonl_items, refuse, unchecked, uri_items

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet", ".txt")


def list_manifest(source: Path | IO[bytes], name: str, base: str, *, check: Check = unchecked) -> Iterator[Item]:
    """The items of a CSV (with a header), JSONL or Parquet file, or of a text file with one URI per line. The suffix of `name`
    gives the format; `source` is the file's path or bytes, or for Parquet a stream that can seek.

    `uri` is required, `id` optional, every other column or key is metadata. Relative URIs are taken from the folder `base`, a
    `file://` or `s3://` URI. Lines that cannot be used become items with a problem that names the line (from 1). `check` is
    called now and then, and may raise. Raises `InvalidArgument` ("manifest") for a file that cannot be read at all: another
    suffix, not UTF-8, no `uri` column; `NotFound` ("source").
    """
    suffix = Path(name).suffix.lower()
    if suffix not in MANIFEST_SUFFIXES:
        refuse(name, "must be a CSV, JSONL, Parquet or text file, named .csv, .jsonl, .ndjson, .parquet or .txt")
    if not isinstance(source, Path):
        yield from _read(suffix, source, name, base, check)
        return
    try:
        with open_file(source) as stream:
            yield from _read(suffix, stream, name, base, check)
    except FailedPrecondition as error:
        raise InvalidArgument("manifest", error.message, reason="MANIFEST_INVALID") from error
    except OSError as error:
        refuse(name, f"cannot be read: {error.strerror}")


def _read(suffix: str, stream: IO[bytes], name: str, base: str, check: Check) -> Iterator[Item]:
    if suffix == ".parquet":
        try:
            from lookalike.listing.tables import parquet_items
        except ImportError:
            refuse(name, "needs pyarrow to be read; install it with: pip install 'lookalike[export]'")
        return parquet_items(stream, name, base, check)
    if suffix == ".csv":
        return csv_items(stream, name, base, check)
    return uri_items(stream, name, base, check) if suffix == ".txt" else jsonl_items(stream, name, base, check)
