"""Checks of the memory that reading a Parquet file would take, made before pyarrow reads it. All readers of foreign Parquet
files call it.

pyarrow trusts a file: it allocates the unpacked size that a page claims, repeats a value of a dictionary for every row with it,
and recurses as deep as the schema. Twelve kilobytes make gigabytes. So the footer and the header of every page are read here
first. Both are structs of Thrift's compact protocol, of which a few fields matter
(https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import IO, Any

from lookalike.errors import InvalidArgument

MAX_FOOTER_BYTES = 16 * 1024 * 1024
"""Bounds a footer, to some hundred thousand chunks of columns; pyarrow takes ten times its size of memory."""
_MOST_CHUNKS = 200_000
_MOST_COLUMNS = 10_000
_MOST_LEVELS = 128
"""Bounds the levels of a schema. Metadata has 32, and a list or map takes three levels."""
MAX_PAGES_BYTES = 128 * 1024 * 1024
"""Bounds the sum of the unpacked sizes of each column's largest page, which are held at the same time. Writers make pages of
1 MiB per column; DuckDB makes one page of up to 100 MB of a row group."""
_MOST_LISTED = 8 * 1024 * 1024
"""Bounds the values of a column of lists in one row group: one row may hold all of them."""
_REPEATED_BYTES = 64 * 1024 * 1024
"""Bounds a batch of rows of which each may repeat one long value."""
_BATCH_ROWS = 1024
_HEADER_BYTES = (512, 64 * 1024, 1024 * 1024)
"""The numbers of bytes read for the header of a page, one after the other until it fits. Headers hold statistics."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_FACTS = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
"""The field of a page's header with the fields of its kind."""
_REPEATING = frozenset({2, 7, 8})
"""Encodings of which a value may be longer than its part of the page: PLAIN_DICTIONARY, DELTA_BYTE_ARRAY, RLE_DICTIONARY."""
_DEPTH = 16
"""Bounds the nested structs of a header. Page headers have four."""


def open_checked(stream: IO[bytes], **more: Any) -> Any:
    """pyarrow's `ParquetFile` over `stream`, after `check_footer`. `more` are options of its own. Raises as both do."""
    import pyarrow.parquet as pq

    check_footer(stream)
    # Buffering ahead would hold a whole row group, whose size a writer may have chosen freely.
    limits = {"thrift_string_size_limit": MAX_FOOTER_BYTES, "thrift_container_size_limit": MAX_FOOTER_BYTES}
    return pq.ParquetFile(stream, pre_buffer=False, buffer_size=1024 * 1024, **limits, **more)


def check_footer(stream: IO[bytes]) -> None:
    """Raise `InvalidArgument` ("manifest") unless pyarrow can read the footer of the Parquet file `stream` in bounded memory.

    A file that is not Parquet passes; pyarrow refuses it.
    """
    size_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size_bytes - 8))
    tail = stream.read(8)
    length = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or tail[4:] != b"PAR1" or length > size_bytes - 8:
        return
    if length > MAX_FOOTER_BYTES:
        raise _refused(f"has a footer of {length:,} bytes; at most {MAX_FOOTER_BYTES:,} are allowed")
    stream.seek(size_bytes - 8 - length)
    try:
        _Compact(stream.read(length)).footer()
    except (IndexError, ValueError) as error:
        raise _refused("has a damaged footer") from error


def rows_at_once(
    stream: IO[bytes], file: Any, group: int, columns: Sequence[int], check: Callable[[], None] = lambda: None
) -> int:
    """The number of rows, 1 to 1,024, of row group `group` of `file`, a pyarrow `ParquetFile` over `stream`, that may be read
    at a time, in the columns of those numbers. `check` is called now and then, and may raise.

    Raises `InvalidArgument` ("manifest"), which names the column, where even one row would be too much.
    """
    metadata, schema = file.metadata, file.schema
    arrow = {field.name: str(field.type) for field in file.schema_arrow}
    pages = row = 0
    size_bytes = stream.seek(0, io.SEEK_END)
    for column in columns:
        chunk = metadata.row_group(group).column(column)
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
            start = min(start, chunk.dictionary_page_offset)
        end = start + chunk.total_compressed_size
        name = str(chunk.path_in_schema)[:80]
        if not 0 < start <= end <= size_bytes:
            raise _refused(f"column {name!r} lies outside the file")
        largest, repeated, listed = _look_at(stream, start, end, name, check)
        if schema.column(column).max_repetition_level and listed > _MOST_LISTED:
            raise _refused(
                f"column {name!r} has lists of {listed:,} values in a row group; at most {_MOST_LISTED:,} are allowed"
            )
        # What pyarrow keeps as a dictionary it does not repeat.
        pages, row = pages + largest, row + (0 if arrow.get(name, "").startswith("dictionary") else repeated)
        if pages > MAX_PAGES_BYTES:
            raise _refused(f"column {name!r} has pages of {largest:,} bytes; all columns may have {MAX_PAGES_BYTES:,} together")
    return max(1, min(_BATCH_ROWS, _REPEATED_BYTES // max(1, row)))


def _look_at(stream: IO[bytes], start: int, end: int, name: str, check: Callable[[], None]) -> tuple[int, int, int]:
    """(bytes of the largest page, bytes of the longest value that rows may repeat, number of values) of a chunk's pages."""
    largest = repeated = listed = dictionary = 0
    while start < end:
        check()
        header, length = _page_header(stream, start, end, name)
        kind, unpacked, packed = (_number(header.get(field)) for field in (1, 2, 3))
        facts = header.get(_FACTS.get(kind, 0), {})
        values = _number(facts.get(1, 0)) if isinstance(facts, dict) else -1
        if min(kind, unpacked, packed, values) < 0:
            raise _refused(f"column {name!r} has a damaged page")
        start += length + packed
        if start > end or (kind == _DICTIONARY and values > unpacked):
            raise _refused(f"column {name!r} has a page that is longer than it can be")
        largest = max(largest, unpacked)
        if kind == _DICTIONARY:
            dictionary = max(dictionary, unpacked)
            continue
        listed += values
        encoding = _number(facts.get(4 if kind == _DATA_V2 else 2))
        if encoding < 0:
            raise _refused(f"column {name!r} has a damaged page")
        if encoding in _REPEATING:
            repeated = max(repeated, dictionary if encoding != 7 else unpacked)
    return largest, repeated, listed


def _page_header(stream: IO[bytes], start: int, end: int, name: str) -> tuple[dict[int, Any], int]:
    for size_bytes in _HEADER_BYTES:
        stream.seek(start)
        content = stream.read(min(size_bytes, end - start))
        compact = _Compact(content)
        try:
            return compact.struct(), compact.at
        except IndexError:
            if len(content) < size_bytes:
                break
        except ValueError:
            break
    raise _refused(f"column {name!r} has a damaged page")


class _Compact:
    """A reader of Thrift's compact protocol. Raises `IndexError` where the bytes end too early, `ValueError` for nonsense."""

    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def struct(self, depth: int = _DEPTH) -> dict[int, Any]:
        """The fields of a struct by number: numbers, bools, bytes and structs; for lists, their length."""
        if not depth:
            raise ValueError("nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) & 0x0F:
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 0x0F, depth)
        return fields

    def footer(self) -> None:
        """Walk through a `FileMetaData`, and refuse it where pyarrow would take too much memory."""
        number = columns = chunks = 0
        while (head := self._byte()) & 0x0F:
            number = number + (head >> 4) if head >> 4 else self._signed()
            if number == 2 and head & 0x0F == 9:
                columns = self._list_length()
                if columns > _MOST_COLUMNS:
                    raise _refused(f"has {columns:,} columns; at most {_MOST_COLUMNS:,} are allowed")
                self._schema(columns)
            elif number == 4 and head & 0x0F == 9:
                for _ in range(self._list_length()):
                    # An empty group counts as well, and so does one whose columns are none.
                    chunks += 1 + max(0, _number(self.struct().get(1)))
                    if chunks > _MOST_CHUNKS:
                        raise _refused(f"has more than {_MOST_CHUNKS:,} chunks of columns; write larger row groups")
            else:
                self._value(head & 0x0F, _DEPTH)

    def _schema(self, count: int) -> None:
        left: list[int] = []  # Children to come, of each group that is open.
        for _ in range(count):
            children = _number(self.struct().get(5))
            while left and not left[-1]:
                left.pop()
            if left:
                left[-1] -= 1
            if children > 0:
                left.append(children)
            if len(left) > _MOST_LEVELS:
                raise _refused(f"has columns nested deeper than {_MOST_LEVELS} levels")

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._take(8)
        if kind == 8:
            return self._take(self._unsigned())
        if kind in (9, 10):
            head = self._byte()
            length = head >> 4 if head >> 4 != 15 else self._unsigned()
            for _ in range(length):
                self._element(head & 0x0F, depth - 1)
            return length
        if kind == 12:
            return self.struct(depth - 1)
        raise ValueError("a type that these structs do not have")

    def _element(self, kind: int, depth: int) -> None:
        if kind in (1, 2):
            self._byte()
        else:
            self._value(kind, depth)

    def _list_length(self) -> int:
        head = self._byte()
        if head & 0x0F != 12:
            raise ValueError("no list of structs")
        return head >> 4 if head >> 4 != 15 else self._unsigned()

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)

    def _take(self, size_bytes: int) -> bytes:
        self.at += size_bytes
        if self.at > len(self._content):
            raise IndexError("ends too early")
        return self._content[self.at - size_bytes : self.at]


def _number(value: object) -> int:
    """-1 for what is no number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _refused(problem: str) -> InvalidArgument:
    return InvalidArgument("manifest", problem, reason="MANIFEST_INVALID")
