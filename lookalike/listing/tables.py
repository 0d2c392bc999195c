"""Lists of pictures in Parquet, a batch of rows at a time.

A column keeps its type as far as JSON goes: times and dates become ISO 8601 text, decimals numbers, lists, structs and maps
lists and objects. Null and NaN are an absent key. Binary columns are refused by name: a Parquet file lists pictures, and holds
none.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from lookalike.errors import InvalidArgument, one_line
from lookalike.items import SOURCE_INCOMPLETE, Item, broken_item
from lookalike.listing.parquet_pages import open_checked, rows_at_once
from lookalike.listing.text import MAX_LINE_BYTES, Check, item_of, refuse, unchecked

_MOST_DENSE_BYTES = 64 * 1024 * 1024
"""Bounds a batch with each value of a dictionary written out."""
_WHOLE_BYTES = 1024 * 1024
"""Bounds a batch that is converted to Python values as a whole. The rows of a larger batch are converted one by one."""


def parquet_items(stream: IO[bytes], name: str, base: str, check: Check = unchecked) -> Iterator[Item]:
    """The rows of a Parquet file. A row group that cannot be read is one item, SOURCE_INCOMPLETE. `check` is
    called now and then, and may raise.

    Raises `InvalidArgument` ("manifest") for a file that is not Parquet, or has a column that cannot be used, by its name.
    """
    try:
        file = open_checked(stream)
    except InvalidArgument as error:
        refuse(name, error.problem)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        refuse(name, f"is not a Parquet file, or a part of it is missing: {_said(error)}")
    _check_columns(file.schema_arrow, name)
    position = row = 0
    for group in range(file.metadata.num_row_groups):
        rows_before, rows = row, file.metadata.row_group(group).num_rows
        try:
            at_once = rows_at_once(stream, file, group, range(file.metadata.num_columns), check)
            for batch in file.iter_batches(at_once, row_groups=[group], use_threads=False):
                check()
                for fields in batch_rows(batch):
                    row += 1
                    yield _item(position, row, fields, base)
                    position += 1
        except (pa.ArrowException, InvalidArgument, OSError, UnicodeDecodeError, KeyError) as error:
            first, row = row + 1, rows_before + rows
            yield broken_item(
                position, f"{name}: rows {first} to {row} cannot be read: {_said(error)}", reason=SOURCE_INCOMPLETE
            )
            position += 1


def batch_rows(batch: Any) -> Iterator[dict[str, Any] | None]:
    """The rows of a batch as Python's values; None for a row that is too long to be used."""
    kept = [column for column in batch.columns if pa.types.is_dictionary(column.type)]
    if all(_longest(column.dictionary) * batch.num_rows <= _MOST_DENSE_BYTES for column in kept):
        batch, kept = _dense(batch), []
        if batch.nbytes <= _WHOLE_BYTES:
            yield from batch.to_pylist(maps_as_pydicts="strict")
            return
    for number in range(batch.num_rows):
        row = batch.slice(number, 1)
        row = _dense(row) if kept else row
        yield row.to_pylist(maps_as_pydicts="strict")[0] if row.nbytes <= MAX_LINE_BYTES else None


def _longest(values: Any) -> int:
    """Bytes of the longest value of a dictionary; 0 where all values are short."""
    return (pc.max(pc.binary_length(values)).as_py() or 0) if _is_text(values.type) else 0


def _dense(batch: Any) -> Any:
    columns = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _item(position: int, row: int, fields: dict[str, Any] | None, base: str) -> Item:
    if fields is None:
        return broken_item(position, f"row {row}: is longer than {MAX_LINE_BYTES} bytes")
    item_id, uri = fields.pop("id", None), fields.pop("uri", None)
    metadata = {key: _json(value) for key, value in fields.items() if not _absent(value)}
    return item_of(position, f"row {row}", "" if item_id is None else str(item_id), uri or "", metadata, base)


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _json(value: object) -> object:
    if isinstance(value, dict):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _check_columns(schema: Any, name: str) -> None:
    columns = schema.names
    if "uri" not in columns:
        refuse(name, f"has no column 'uri'; columns: {', '.join(columns)[:200] or 'none'}")
    doubled = sorted(column for column, count in Counter(columns).items() if count > 1)
    if doubled:
        refuse(name, f"has two columns called {doubled[0]!r}")
    for field in schema:
        type_ = _value_type(field.type)
        if field.name == "uri" and not _is_text(type_):
            refuse(name, f"has a column 'uri' of type {field.type}; it must be text")
        if field.name == "id" and not (_is_text(type_) or pa.types.is_integer(type_)):
            refuse(name, f"has a column 'id' of type {field.type}; it must be text or whole numbers")
        if not _is_json(type_):
            refuse(name, f"has a column {field.name!r} of type {field.type}, which metadata cannot hold; leave it out")


def _is_json(type_: Any) -> bool:
    types = pa.types
    type_ = _value_type(type_)
    if types.is_struct(type_):
        return all(_is_json(type_.field(index).type) for index in range(type_.num_fields))
    if types.is_map(type_):
        return _is_text(_value_type(type_.key_type)) and _is_json(type_.item_type)
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return _is_json(type_.value_type)
    plain = (types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_decimal)
    return _is_text(type_) or types.is_timestamp(type_) or types.is_date(type_) or types.is_time(type_) or _any(plain, type_)


def _any(tests: tuple[Any, ...], type_: Any) -> bool:
    return any(test(type_) for test in tests)


def _value_type(type_: Any) -> Any:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _is_text(type_: Any) -> bool:
    return _any((pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view), type_)


def _said(error: Exception) -> str:
    return one_line(error.problem if isinstance(error, InvalidArgument) else error)
