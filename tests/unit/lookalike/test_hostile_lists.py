"""Lists and archives that ask for more memory or time than they may: they fail by name, and memory stays flat."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedder.datasets.tables import read_columns
from lookalike.errors import Cancelled, InvalidArgument, LookalikeError
from lookalike.items import SOURCE_INCOMPLETE, Item
from lookalike.listing import list_archive, list_manifest
from lookalike.listing.parquet_pages import rows_at_once
from lookalike.listing.tars import plain_stream, walk
from lookalike.listing.text import MAX_LINE_BYTES
from tests.unit.lookalike.tar_files import tar

MIB = 1024 * 1024
SIZE = 24 * MIB
"""The bytes that are announced or sent: far more than may be held."""
END = bytes(1024)


@contextmanager
def flat(limit_bytes: int = 12 * MIB) -> Iterator[None]:
    """Fails where more is allocated at a time."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit_bytes, f"{peak:,} bytes"


class Endless(io.RawIOBase):
    """`head`, then `size_bytes` of `filling`, then `tail`, none of it held."""

    def __init__(self, head: bytes, filling: bytes, size_bytes: int, tail: bytes = b"") -> None:
        self._parts = (head, (filling * (MIB // len(filling)), size_bytes), tail)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = offset if whence == 0 else self._at + offset
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        head, (filling, size_bytes), tail = self._parts
        at = self._at - len(head)
        if at < 0:
            piece = head[self._at :]
        elif at < size_bytes:
            piece = filling[at % len(filling) :][: size_bytes - at]
        else:
            piece = tail[at - size_bytes :]
        piece = piece[: len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def stream(head: bytes, filling: bytes, size_bytes: int = SIZE, tail: bytes = b"") -> io.BufferedReader:
    return io.BufferedReader(Endless(head, filling, size_bytes, tail))


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def pax(content: bytes, kind: bytes = b"x") -> bytes:
    return header(kind, len(content)) + content + bytes(-len(content) % 512)


def record(key: str, value: str) -> bytes:
    tail = f" {key}={value}\n".encode()
    length = len(tail) + 1
    while len(str(length)) + len(tail) != length:
        length = len(str(length)) + len(tail)
    return str(length).encode() + tail


GOOD = tar({"good.png": b"picture"})[:1024]


def archive(content: bytes, name: str = "evil.tar") -> list[Item]:
    return list(list_archive(plain_stream(io.BytesIO(content), name), name, "file:///data/evil.tar"))


class TestTarHeaders:
    @pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"L", b"K"])
    @pytest.mark.parametrize("first", [True, False])
    def test_a_header_without_end_fails_by_name(self, kind: bytes, first: bool) -> None:
        head = (b"" if first else GOOD) + header(kind, SIZE)
        with flat():
            if first:
                with pytest.raises(InvalidArgument, match=r"evil\.tar cannot be read: a header is longer than 1,048,576 bytes"):
                    list(list_archive(stream(head, b"\0"), "evil.tar", "file:///evil.tar"))
                return
            good, last = list_archive(stream(head, b"\0"), "evil.tar", "file:///evil.tar")
        assert good.uri == "tar://good.png::file:///evil.tar"
        assert last.problem == "evil.tar breaks off behind 'good.png': a header is longer than 1,048,576 bytes"
        assert last.problem_reason == SOURCE_INCOMPLETE

    def test_the_archive_is_not_unpacked_either(self) -> None:
        packed = gzip.compress(header(b"x", SIZE) + bytes(4 * MIB), 1)
        with flat(), pytest.raises(InvalidArgument, match="a header is longer than"):
            archive(packed, "evil.tar.gz")

    @pytest.mark.parametrize("kind", [b"x", b"g", b"L"])
    def test_headers_of_headers_end(self, kind: bytes) -> None:
        nested = header(kind, 0) * 1900
        with flat(), pytest.raises(InvalidArgument, match=r"nested without end|longer than"):
            archive(nested + GOOD + END)

    def test_a_sparse_map_without_end_is_a_header_without_end(self) -> None:
        block = bytearray(header(b"S", 0))
        block[482] = 1  # It goes on in a block of its own.
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
        more = bytearray(512)
        more[504] = 1  # As does that one, and every one behind it.
        with flat(), pytest.raises(InvalidArgument, match="a header is longer than"):
            list(list_archive(stream(bytes(block), bytes(more)), "evil.tar", "file:///evil.tar"))

    def test_globals_do_not_pile_up(self) -> None:
        content = b"".join(pax(record(f"key{number}", "v" * 100_000), b"g") + GOOD for number in range(100))
        with flat(16 * MIB):
            *good, last = archive(content + END)
        assert len(good) == 2
        assert "global headers are longer than" in last.problem

    @pytest.mark.parametrize(
        "content",
        [
            b"2 " * 100_000 + b"=",  # Overlapping records: the square of it in memory.
            b"1" * 200_000,
            record("a", "1" * 200_000),  # The square of it in time.
            record("size", "-1024"),
            record("size", "9" * 200),
            record("size", "1" * 5000),
            b"5 a=\xff",
            b"0 a=b\n",
            b"9999999 a=b\n",
            record("GNU.sparse.map", "x,y"),
            record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0"),
        ],
    )
    def test_a_pax_header_that_is_none_fails_by_name_and_at_once(self, content: bytes) -> None:
        try:
            with flat():
                *_, last = archive(pax(content) + GOOD + END)
            problem = last.problem
        except LookalikeError as error:
            problem = error.message
        assert "evil.tar" in problem

    def test_a_size_below_zero_does_not_go_round_for_ever(self) -> None:
        block = bytearray(header(b"0", 0, "a.png"))
        block[124:136] = b"\xff" * 10 + b"\xfc\0"  # -1024
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
        *_, last = archive(GOOD + bytes(block) + END)
        assert "below zero" in last.problem

    def test_a_name_without_end_fails_its_member_alone(self) -> None:
        named, good = archive(pax(record("path", "n" * 500_000 + ".png")) + GOOD + GOOD + END)
        assert "at most 2048 are allowed" in named.problem
        assert len(named.problem) < 500
        assert not good.problem

    def test_an_archive_that_unpacks_to_anything_is_broken_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lookalike.listing.tars._ALWAYS_UNPACKED_BYTES", 8 * MIB)
        packed = gzip.compress(GOOD + header(b"0", SIZE, "zeros.bin") + bytes(SIZE) + END)
        with flat():
            good, last = archive(packed, "evil.tgz")
        assert not good.problem
        assert "evil.tgz breaks off in 'zeros.bin': it unpacks to more than 200 times its size" in last.problem

    def test_unpacking_what_nobody_wants_can_be_interrupted(self) -> None:
        def stop() -> None:
            raise Cancelled("nobody wants it")

        packed = gzip.compress(header(b"0", SIZE, "zeros.bin") + bytes(SIZE) + END, 1)
        with pytest.raises(Cancelled):
            list(walk(plain_stream(io.BytesIO(packed), "x.tgz", stop), "x.tgz", lambda _: 0))

    def test_metadata_beside_a_picture_is_read_as_far_as_it_may_be_long(self) -> None:
        content = gzip.compress(GOOD + header(b"0", SIZE, "good.json") + b"[" * SIZE + END, 1)
        with flat():
            (good,) = archive(content, "evil.tgz")
        assert good.problem == f"evil.tgz: good.png: its .json: is longer than {MAX_LINE_BYTES} bytes"


def listed(name: str, head: bytes, filling: bytes, tail: bytes = b"\n", size_bytes: int = SIZE) -> list[Item]:
    return list(list_manifest(stream(head, filling, size_bytes, tail), name, "file:///data"))


class TestText:
    @pytest.mark.parametrize(
        ("name", "head", "tail"),
        [
            ("m.csv", b"uri,note\na.png,", b"\nb.png,good\n"),
            ("m.csv", b'uri,note\na.png,"', b'"\nb.png,good\n'),
            ("m.jsonl", b'{"uri": "', b'"}\n{"uri": "b.png"}\n'),
            ("m.jsonl", b"[[[", b'\n{"uri": "b.png"}\n'),
            ("m.txt", b"a", b".png\nb.png\n"),
        ],
    )
    def test_a_line_without_end_fails_alone(self, name: str, head: bytes, tail: bytes) -> None:
        with flat():
            long, good = listed(name, head, b"[", tail)
        assert f"is longer than {MAX_LINE_BYTES} bytes" in long.problem
        assert long.problem.startswith("line ")
        assert (good.uri, good.problem) == ("file:///data/b.png", "")

    def test_a_row_of_many_lines_is_no_longer_than_a_line_may_be(self) -> None:
        with flat():
            first, *_ = list_manifest(stream(b"uri,note\n", b'"' + b"x" * 1000 + b'\n",', 2 * MIB), "m.csv", "file:///data")
        assert first.problem.startswith("line 2 to ")
        assert f"has cells of more than {MAX_LINE_BYTES} bytes together" in first.problem

    def test_a_header_without_end_fails_the_list_by_name(self) -> None:
        with flat(), pytest.raises(InvalidArgument, match=r"m\.csv has no header that can be read: the line is longer than"):
            listed("m.csv", b"uri", b",a")
        with flat(), pytest.raises(InvalidArgument, match=r"m\.csv has two columns") as refused:
            listed("m.csv", b"uri," + b"a" * 100_000 + b"," + b"a" * 100_000 + b"\n", b"x\n", size_bytes=10)
        assert len(refused.value.message) < 300

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (b'{"uri": "a.png", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is not JSON|nested deeper than 32"),
            (b'{"uri": "a.png", "n": ' + b"9" * 200_000 + b"}", "metadata.n: a whole number of more than 38 digits"),
            (b'{"uri": "a.png", "n": ' + b"9" * 4000 + b"}", "metadata.n: a whole number of more than 38 digits"),
            (b'{"uri": "a.png", "n": NaN}', "metadata.n: NaN is not a number of JSON"),
            (b'{"uri": "a.png", "n": 1e999}', "metadata.n: Infinity is not a number of JSON"),
            (b'{"uri": "a.png", "n": "\\ud800"}', "lone surrogate"),
        ],
    )
    def test_values_that_nothing_can_hold_fail_their_line_alone(self, line: bytes, says: str) -> None:
        bad, good = list_manifest(io.BytesIO(line + b'\n{"uri": "b.png"}\n'), "m.jsonl", "file:///data")
        assert re.search(f"line 1: .*({says})", bad.problem), bad.problem[:200]
        assert not good.problem

    @pytest.mark.parametrize(("name", "filling"), [("m.jsonl", b"\n"), ("m.csv", b"\n"), ("m.txt", b"x"), ("m.csv", b"x")])
    def test_a_list_that_never_comes_to_an_item_can_be_interrupted(self, name: str, filling: bytes) -> None:
        def stop() -> None:
            raise Cancelled("nobody wants it")

        with pytest.raises(Cancelled):
            list(list_manifest(stream(b"uri\n", filling, 1024**5), name, "file:///data", check=stop))

    def test_a_list_to_train_by_is_bounded_as_well(self, tmp_path: Path) -> None:
        table = tmp_path / "list.csv"
        for content in (b"uri,label\n" + b"x" * 16 * MIB, b"uri,label\n" + (b'"' + b"x" * 1000 + b'\n",') * 2_000):
            table.write_bytes(content)
            with flat(), pytest.raises(InvalidArgument, match=r"dataset: .*list\.csv cannot be read: line 2"):
                list(read_columns(table, ("uri", "label")))


def parquet(table: pa.Table, **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", write_statistics=False, **options)
    stream.seek(0)
    return stream


def rows(stream: io.BytesIO) -> list[Item]:
    return list(list_manifest(stream, "m.parquet", "file:///data"))


class TestParquet:
    @pytest.mark.parametrize("version", ["1.0", "2.0"])
    def test_a_page_that_unpacks_to_anything_fails_its_row_group_by_name(
        self, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lookalike.listing.parquet_pages.MAX_PAGES_BYTES", MIB)
        table = pa.table({"uri": ["a.png", "b.png", "c.png"], "note": ["x" * 4 * MIB, "small", "small"]})
        bomb = parquet(table, use_dictionary=False, row_group_size=1, data_page_version=version)
        assert len(bomb.getvalue()) < 10_000
        before = pa.default_memory_pool().bytes_allocated()
        bad, *good = rows(bomb)
        assert bad.problem_reason == SOURCE_INCOMPLETE
        assert "m.parquet: rows 1 to 1 cannot be read: column 'note' has pages of 4," in bad.problem
        assert [item.problem for item in good] == ["", ""]
        assert pa.default_memory_pool().bytes_allocated() - before < MIB

    @pytest.mark.parametrize("kept", [True, False])
    @pytest.mark.parametrize("encoding", ["RLE_DICTIONARY", "DELTA_BYTE_ARRAY"])
    def test_a_value_that_every_row_repeats_is_not_held_for_every_row(self, encoding: str, kept: bool) -> None:
        value = "x" * 4 * MIB
        repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), [value])
        note = repeated if encoding.startswith("RLE") else [value] * 24
        options = {} if encoding.startswith("RLE") else {"use_dictionary": False, "column_encoding": {"note": encoding}}
        kept = kept and encoding.startswith("RLE")
        bomb = parquet(pa.table({"uri": ["a.png"] * len(note), "note": note}), store_schema=kept, **options)
        assert len(bomb.getvalue()) < 100_000
        file = pq.ParquetFile(bomb)
        at_once = rows_at_once(bomb, file, 0, range(2))
        assert at_once <= 16 or kept
        with flat(MIB):
            assert {item.problem.partition(": ")[2] for item in rows(bomb)} == {f"is longer than {MAX_LINE_BYTES} bytes"}

    def test_usual_tables_are_read_in_usual_batches(self) -> None:
        table = pa.table(
            {"uri": [f"{number}.png" for number in range(5000)], "label": ["a", "b"] * 2500, "tags": [["x", "y"]] * 5000}
        )
        stream = parquet(table)
        file = pq.ParquetFile(stream)
        assert rows_at_once(stream, file, 0, range(file.metadata.num_columns)) == 1024
        assert len(rows(stream)) == 5000

    def test_a_dictionary_of_many_values_is_no_long_row(self) -> None:
        values = [f"{number:01000}" for number in range(20_000)]
        items = rows(parquet(pa.table({"uri": ["a.png"] * 20_000, "note": pa.array(values).dictionary_encode()})))
        assert not any(item.problem for item in items)

    def test_lists_without_end_fail_by_the_name_of_their_column(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lookalike.listing.parquet_pages._MOST_LISTED", 100_000)
        listed = pa.ListArray.from_arrays(pa.array([0, 1_000_000], pa.int32()), pa.nulls(1_000_000, pa.int8()))
        (bad,) = rows(parquet(pa.table({"uri": ["a.png"], "tags": listed})))
        assert "column 'tags.list.element' has lists of 1,000,000 values" in bad.problem

    def test_a_schema_without_a_floor_and_footers_without_end_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        type_ = pa.int8()
        for _ in range(200):
            type_ = pa.struct([("a", type_)])
        with pytest.raises(InvalidArgument, match=r"m\.parquet has columns nested deeper than 128 levels"):
            rows(parquet(pa.table({"uri": ["a.png"], "deep": pa.nulls(1, type_)})))
        whole = parquet(pa.table({"uri": ["a.png"] * 50}), row_group_size=1)
        monkeypatch.setattr("lookalike.listing.parquet_pages._MOST_CHUNKS", 99)
        with pytest.raises(InvalidArgument, match=r"m\.parquet has more than 99 chunks of columns"):
            rows(whole)
        monkeypatch.setattr("lookalike.listing.parquet_pages.MAX_FOOTER_BYTES", 1000)
        with pytest.raises(InvalidArgument, match=r"m\.parquet has a footer of [0-9,]+ bytes; at most 1,000 are allowed"):
            rows(whole)

    @given(st.integers(4, 400), st.binary(min_size=1, max_size=8))
    @example(53, b"\x00\x1c")  # a struct where the encoding should be
    def test_damage_anywhere_is_reported_by_name(self, place: int, damage: bytes) -> None:
        content = bytearray(_SMALL)
        content[place % len(content) : place % len(content) + len(damage)] = damage
        try:
            items = rows(io.BytesIO(content))
        except InvalidArgument as error:
            problem = error.problem
        else:
            problem = "" if all(item.problem or item.uri for item in items) else "an item without anything"
        assert not problem or problem.startswith("m.parquet ")


_SMALL = parquet(pa.table({"uri": ["a.png", "b.png"], "n": [1, 2]})).getvalue()
