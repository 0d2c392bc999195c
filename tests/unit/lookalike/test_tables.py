"""Parquet lists: which columns can be used, and what becomes of their values."""

from __future__ import annotations

import datetime
import decimal
import io
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.errors import InvalidArgument
from lookalike.items import SOURCE_INCOMPLETE, Item
from lookalike.listing import list_manifest
from lookalike.metadata import same_metadata
from lookalike.names import id_from_uri


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, **options)
    return stream.getvalue()


def listed(content: bytes) -> list[Item]:
    return list(list_manifest(io.BytesIO(content), "items.parquet", "file:///data/set"))


def test_values_keep_their_types_as_far_as_json_goes() -> None:
    moment = datetime.datetime(2026, 11, 24, 5, 0, tzinfo=datetime.UTC)
    (item,) = listed(
        parquet(
            {
                "uri": ["a b.png"],
                "id": pa.array([7], pa.int32()),
                "text": pa.array(["x"]).dictionary_encode(),
                "flag": [True],
                "whole": pa.array([2**40], pa.int64()),
                "real": [0.5],
                "half": pa.array([1.5], pa.float16()),
                "price": pa.array([decimal.Decimal("9.90")]),
                "moment": pa.array([moment], pa.timestamp("us", "UTC")),
                "day": [datetime.date(2026, 11, 24)],
                "clock": [datetime.time(5, 0)],
                "tags": [["a", "b"]],
                "box": [{"x": 1, "made": datetime.date(2026, 1, 1)}],
                "facts": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
                "nothing": pa.nulls(1),
                "missing": pa.array([None], pa.string()),
                "not_a_number": [float("nan")],
            }
        )
    )
    assert (item.id, item.uri) == ("7", "file:///data/set/a%20b.png")
    assert item.metadata == {
        "text": "x",
        "flag": True,
        "whole": 2**40,
        "real": 0.5,
        "half": 1.5,
        "price": 9.9,
        "moment": "2026-11-24T05:00:00+00:00",
        "day": "2026-11-24",
        "clock": "05:00:00",
        "tags": ["a", "b"],
        "box": {"x": 1, "made": "2026-01-01"},
        "facts": {"k": 1},
    }


def test_rows_that_cannot_be_used_fail_alone_and_name_their_row() -> None:
    items = listed(
        parquet({"uri": ["a.png", None, "", "b.png", "c.png", "u" * 3000], "id": [None, "x", "y", "i" * 300, "c", "z"]})
    )
    assert items[0] == Item(0, id_from_uri("file:///data/set/a.png"), "file:///data/set/a.png")
    assert [bool(item.problem) for item in items] == [False, True, True, True, False, True]
    assert items[1].problem == "row 2: has no 'uri'"
    assert items[3].problem.startswith("row 4: id: is 300 bytes long")
    assert [item.position for item in items] == list(range(6))


def test_whole_numbers_keep_all_their_digits_and_one_too_large_fails_its_row() -> None:
    decimals = pa.array([decimal.Decimal(2**53 + 1), decimal.Decimal(2**63 - 1), None, None], pa.decimal128(38, 0))
    first, second, third, fourth = listed(
        parquet(
            {
                "uri": ["a.png", "b.png", "c.png", "d.png"],
                "whole": [2**53 + 1, 2**63 - 1, -(2**63), 0],
                "unsigned": pa.array([2**53 + 1, 2**63 - 1, 2**63, 0], pa.uint64()),
                "exact": decimals,
                "real": [7.0, 2.0**63, None, math.inf],
            }
        )
    )
    assert same_metadata(first.metadata, {"whole": 2**53 + 1, "unsigned": 2**53 + 1, "exact": 2**53 + 1, "real": 7.0})
    assert same_metadata(second.metadata, {"whole": 2**63 - 1, "unsigned": 2**63 - 1, "exact": 2**63 - 1, "real": 2.0**63})
    assert third.problem.startswith("row 3: metadata.unsigned: 9223372036854775808 is out of range; whole numbers from")
    assert fourth.problem.startswith("row 4: metadata.real: Infinity is not a number of JSON")


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"url": ["a"]}, "has no column 'uri'; columns: url"),
        ({"uri": [1]}, "has a column 'uri' of type int64; it must be text"),
        ({"uri": [b"a"]}, "has a column 'uri' of type binary; it must be text"),
        ({"uri": ["a"], "id": [1.5]}, "has a column 'id' of type double; it must be text or whole numbers"),
        ({"uri": ["a"], "pixels": [b"x"]}, "has a column 'pixels' of type binary, which metadata cannot hold"),
        ({"uri": ["a"], "image": [{"bytes": b"x"}]}, "has a column 'image' of type struct<bytes: binary>"),
        ({"uri": ["a"], "took": [datetime.timedelta(1)]}, "has a column 'took' of type duration"),
    ],
)
def test_columns_of_the_wrong_type_are_refused_by_name(columns: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        listed(parquet(columns))
    assert problem in refused.value.message
    assert refused.value.reason == "MANIFEST_INVALID"


@pytest.mark.parametrize("content", [b"", b"uri\na.png\n", parquet({"uri": ["a"] * 1000})[:-9]])
def test_what_is_no_parquet_or_cut_off_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidArgument, match="is not a Parquet file, or a part of it is missing"):
        listed(content)


def test_a_damaged_row_group_is_one_item_and_the_others_are_read() -> None:
    content = bytearray(parquet({"uri": [f"{n}.png" for n in range(300)]}, row_group_size=100, compression="zstd"))
    column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(1).column(0)
    start = column.data_page_offset
    content[start + 20 : start + 60] = bytes(40)
    items = listed(bytes(content))
    (broken,) = [item for item in items if item.problem]
    assert broken.problem_reason == SOURCE_INCOMPLETE
    assert "rows 101 to 200 cannot be read" in broken.problem
    assert len(items) == 201
    assert items[-1].uri.endswith("/299.png")


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet({"uri": ["x.png"]}))
    (item,) = list_manifest(path, path.name, path.parent.as_uri())
    assert item.uri == (tmp_path / "x.png").as_uri()
