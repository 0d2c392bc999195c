"""Folders and manifests as streams of items: what is found, named and refused."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest

from lookalike.errors import InvalidArgument, NotFound
from lookalike.items import ITEM_INVALID, SOURCE_HIDDEN, Item, checked_item, path_of, resolve_uri
from lookalike.listing import list_folder, list_manifest
from lookalike.listing.text import MAX_LINE_BYTES, number_or_text
from lookalike.names import id_from_uri

BASE = "file:///data/set"


def manifest(text: str | bytes, name: str = "items.csv") -> list[Item]:
    content = text if isinstance(text, bytes) else text.encode()
    return list(list_manifest(io.BytesIO(content), name, BASE))


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class TestFolders:
    def test_pictures_come_in_order_of_path_and_nothing_else_does(self, tmp_path: Path) -> None:
        names = ["b/2.PNG", "a.jpg", "b/1.jpeg", "c.txt", ".hidden.png", ".git/x.png", "b/deep/er/3.webp", "z.tiff"]
        for name in names:
            put(tmp_path / name)
        *hidden, _, _, _, _, _ = items = list(list_folder(tmp_path, labels_from_folders=False))
        assert [Path(item.uri).relative_to(tmp_path.as_uri()).as_posix() for item in items] == [
            ".git/x.png",
            ".hidden.png",
            "a.jpg",
            "b/1.jpeg",
            "b/2.PNG",
            "b/deep/er/3.webp",
            "z.tiff",
        ]
        assert [item.position for item in items] == [0, 1, 2, 3, 4, 5, 6]
        assert [item.problem_reason for item in hidden] == [SOURCE_HIDDEN] * 2
        items = items[2:]
        assert all(item.id == id_from_uri(item.uri) and item.metadata == {} and not item.problem for item in items)

    def test_photographs_that_cannot_be_decoded_are_not_left_out_in_silence(self, tmp_path: Path) -> None:
        for name in ("IMG_0001.HEIC", "a.avif", "b.jxl", "c.txt"):
            put(tmp_path / name)
        items = list(list_folder(tmp_path, labels_from_folders=False))
        assert [Path(item.uri).name for item in items] == ["IMG_0001.HEIC", "a.avif", "b.jxl"]

    def test_labels_are_the_sub_folders_of_the_root(self, tmp_path: Path) -> None:
        for name in ("top.png", "bags/1.png", "bags/red/2.png"):
            put(tmp_path / name)
        items = list(list_folder(tmp_path, labels_from_folders=True))
        assert [item.metadata for item in items] == [{"label": "bags"}, {"label": "bags"}, {}]

    def test_names_in_any_encoding_can_be_found_again(self, tmp_path: Path) -> None:
        for name in ("späte Ernte #1?.png".encode(), b"latin-\xe9.png"):
            put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)))
        for item in list_folder(tmp_path, labels_from_folders=True):
            assert path_of(item.uri).exists()

    def test_links_to_folders_are_not_followed(self, tmp_path: Path) -> None:
        put(tmp_path / "a" / "1.png")
        (tmp_path / "a" / "loop").symlink_to(tmp_path)
        (tmp_path / "loop.png").symlink_to(tmp_path)
        assert len(list(list_folder(tmp_path, labels_from_folders=False))) == 1

    def test_a_path_too_long_to_store_is_an_item_with_a_problem(self, tmp_path: Path) -> None:
        place = tmp_path
        for letter in "abcdefghij":
            place = place / (letter * 240)
        place.parent.mkdir(parents=True)
        descriptor = os.open(place.parent, os.O_RDONLY)
        os.close(os.open("x.png", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
        os.close(descriptor)
        (item,) = list_folder(tmp_path, labels_from_folders=False)
        assert "at most 2048" in item.problem
        assert item.problem_reason == ITEM_INVALID
        assert len(item.uri.encode()) <= 2048

    def test_a_folder_that_is_not_there_or_not_a_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound) as missing:
            list(list_folder(tmp_path / "no", labels_from_folders=False))
        assert missing.value.reason == "SOURCE_NOT_FOUND"
        with pytest.raises(InvalidArgument, match="is not a folder"):
            list(list_folder(put(tmp_path / "file"), labels_from_folders=False))

    def test_an_empty_folder_holds_nothing(self, tmp_path: Path) -> None:
        assert list(list_folder(tmp_path, labels_from_folders=True)) == []


class TestCsv:
    def test_columns_besides_uri_and_id_are_metadata(self) -> None:
        items = manifest("uri,id,name,year,note\n/a/b.png,one,Chair,2019,\nc d.png,,Table,x,\n")
        assert items == [
            Item(0, "one", "file:///a/b.png", {"name": "Chair", "year": 2019}),
            Item(1, id_from_uri("file:///data/set/c%20d.png"), "file:///data/set/c%20d.png", {"name": "Table", "year": "x"}),
        ]

    def test_a_byte_order_mark_windows_lines_quotes_and_blank_lines_are_fine(self) -> None:
        items = manifest(b'\xef\xbb\xbfuri,text\r\n"a,b.png","two\r\nlines"\r\n\r\nc.png,"say ""hi"""\r\n')
        assert [(item.uri, item.metadata["text"]) for item in items] == [
            ("file:///data/set/a%2Cb.png", "two\r\nlines"),
            ("file:///data/set/c.png", 'say "hi"'),
        ]

    @pytest.mark.parametrize(
        ("cell", "value"),
        [
            ("7", 7),
            ("-3", -3),
            ("0", 0),
            ("9.90", 9.9),
            ("-0.5", -0.5),
            ("007", "007"),
            ("1e3", "1e3"),
            ("+1", "+1"),
            (" 1", " 1"),
            ("1,5", "1,5"),
            ("nan", "nan"),
            ("true", "true"),
            ("9007199254740993", 2**53 + 1),
            ("9223372036854775807", 2**63 - 1),
            ("-9223372036854775808", -(2**63)),
            ("9223372036854775808", "9223372036854775808"),
            ("1" * 30, "1" * 30),
            ("٣", "٣"),
        ],
    )
    def test_plain_numbers_are_numbers_and_all_else_is_text(self, cell: str, value: object) -> None:
        assert number_or_text(cell) == value
        assert type(number_or_text(cell)) is type(value)

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "no column 'uri'"),
            (b"url,id\na,b\n", "columns, separated by commas: url, id"),
            (b"uri;id\na;b\n", "uri;id"),
            (b"uri,a,a\nx,y,z\n", "two columns called 'a'"),
            ("uri,é".encode("latin-1"), "not UTF-8"),
            ("uri,a".encode("utf-16"), "UTF-16"),
            ("uri,a".encode("utf-16-le"), "zero bytes in its first line, as UTF-16 does"),
            (b"uri,a\rx.png,1\r", "carriage return alone; save it with line feeds"),
            (b"uri," + b"a" * MAX_LINE_BYTES + b"\nx.png,1\n", f"the line is longer than {MAX_LINE_BYTES} bytes"),
        ],
    )
    def test_a_file_that_cannot_be_read_is_refused_as_a_whole(self, content: bytes, problem: str) -> None:
        with pytest.raises(InvalidArgument, match=problem) as refused:
            manifest(content)
        assert refused.value.reason == "MANIFEST_INVALID"

    def test_broken_lines_fail_alone_and_name_their_line(self) -> None:
        items = manifest(
            b"uri,id\n"
            b"good1.png,1\n"
            b"short\n"
            b"a.png,b,c\n"
            b",no uri\n"
            b"caf\xe9.png,latin\n"
            b'"quoted"x,2\n' + b"u" * 3000 + b",long\n"
            b"good2.png," + b"i" * 257 + b"\n"
            b"good3.png,3\n"
        )
        assert [item.id for item in items if not item.problem] == ["1", "3"]
        problems = [item.problem for item in items if item.problem]
        for line, (problem, part) in enumerate(
            zip(
                problems,
                ["1 cells", "3 cells", "no 'uri'", "not UTF-8", "expected after", "at most 2048", "at most 256"],
                strict=True,
            ),
            start=3,
        ):
            assert problem.startswith(f"line {line}: "), problem
            assert part in problem
        assert [item.position for item in items] == list(range(9))

    def test_a_quote_never_closed_fails_with_its_lines_and_not_the_file(self) -> None:
        items = manifest('uri,id\na.png,1\nb.png,"2\nc.png,3\n')
        assert [bool(item.problem) for item in items] == [False, True]
        assert items[1].problem == "line 3 to 4: has a quote that is not closed"

    def test_a_line_that_is_too_long_takes_none_of_those_behind_it_along(self) -> None:
        quoted = b",".join(b'"' + b"x" * (MAX_LINE_BYTES // 3) + b'"' for _ in range(4))
        items = manifest(b"uri,a,b,c,d\na.png," + quoted + b'\nb.png,"1","2","3","4"\n\nshort\n')
        assert [item.problem for item in items] == [
            f"line 2: is longer than {MAX_LINE_BYTES} bytes",
            "",
            "line 5: has 1 cells, the header has 5",
        ]

    def test_a_header_of_very_many_columns_is_checked_at_once(self) -> None:
        columns = b",".join(b"%d" % number for number in range(40_000))
        started_s = time.monotonic()
        (item,) = manifest(b"uri," + columns + b"\na.png," + columns + b"\n")
        assert "metadata" in item.problem
        assert time.monotonic() - started_s < 5

    def test_a_line_without_end_does_not_fill_the_memory(self) -> None:
        items = manifest(b"uri,id\na.png,1\n" + b"x" * (3 * MAX_LINE_BYTES) + b"\nb.png,2\n")
        assert [bool(item.problem) for item in items] == [False, True, False]


class TestJsonl:
    def test_keys_besides_uri_and_id_are_metadata_with_their_types(self) -> None:
        line = '{"uri": "s3://bucket/x.png", "id": 7, "tags": ["a"], "price": 1.5, "new": true, "none": null}'
        assert manifest(line, "x.jsonl") == [
            Item(0, "7", "s3://bucket/x.png", {"tags": ["a"], "price": 1.5, "new": True, "none": None})
        ]

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("{", "is not JSON"),
            ("[]", "is not a JSON object"),
            ('"x"', "is not a JSON object"),
            ('{"id": "a"}', "has no 'uri'"),
            ('{"uri": 3}', "must be text"),
            ('{"uri": "a.png", "id": true}', "must be text"),
            ('{"uri": "a.png", "x": [NaN]}', "line 2: metadata.x[0]: NaN is not a number of JSON"),
            ('{"uri": "a.png", "x": 9223372036854775808}', "line 2: metadata.x: 9223372036854775808 is out of range"),
            ('{"uri": "a.png", "x": "\\ud800"}', "not Unicode"),
            ('{"uri": "a.png", "x": ' + "[" * 60 + "]" * 60 + "}", "nested deeper than 32"),
            ('{"uri": "a\\u0000.png"}', "cannot be used"),
            ('{"uri": "a.png", "x": "' + "y" * 17_000 + '"}', "at most 16384"),
            ('{"uri": "a.png", "id": "a\\nb"}', "control characters"),
            ("[" * 100_000, "is not JSON"),
        ],
    )
    def test_broken_lines_fail_alone(self, line: str, problem: str) -> None:
        items = manifest(f'{{"uri": "1.png"}}\n{line}\n\n{{"uri": "2.png"}}', "x.jsonl")
        assert [bool(item.problem) for item in items] == [False, True, False]
        assert items[1].problem.startswith("line 2: ")
        assert problem in items[1].problem
        assert items[1].problem_reason == ITEM_INVALID

    def test_other_suffixes_and_missing_files_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidArgument, match="must be a CSV, JSONL"):
            manifest("uri\n", "items.xlsx")
        with pytest.raises(NotFound):
            list(list_manifest(tmp_path / "no.csv", "no.csv", BASE))

    def test_a_manifest_is_read_from_a_path_too(self, tmp_path: Path) -> None:
        path = put(tmp_path / "m.csv", b"uri\nx.png\n")
        (item,) = list_manifest(path, path.name, path.parent.as_uri())
        assert item.uri == (tmp_path / "x.png").as_uri()


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        ("http://host/a b", "http://host/a b"),
        ("/x/y.png", "file:///x/y.png"),
        ("sub/../y.png", "file:///data/set/y.png"),
        ("50%.png", "file:///data/set/50%25.png"),
        ("artifact://originals/ab/cd", "artifact://originals/ab/cd"),
    ],
)
def test_paths_become_uris_and_uris_stay(uri: str, resolved: str) -> None:
    assert resolve_uri(uri, BASE) == resolved


def test_an_item_whose_metadata_is_too_large_keeps_what_names_it() -> None:
    item = checked_item(3, "id", "file:///x", {"x": "y" * 20_000}, where="line 4: ")
    assert (item.position, item.id, item.uri, item.metadata) == (3, "id", "file:///x", {})
    assert item.problem.startswith("line 4: metadata: is 20")
