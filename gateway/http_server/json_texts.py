"""Reads and writes JSON a piece at a time, so that a thread that does it lets others have their turn. Standard library only.

Python's own reader and writer hold its lock for all of a document: 27 MB of short lists take 2 s. Here the lock is held
for half a megabyte at most, 10 to 25 ms. Called by `requests`, `reading` and `operations`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast

from lookalike.errors import InvalidArgument
from lookalike.metadata import read_json_part

scanstring = json.decoder.scanstring  # type: ignore[attr-defined]  # in C where there is one; its stub forgets it
PIECE = 512 * 1024
"""Characters that are read in one go."""
_MOST_MEMBERS = 40_000
"""Members of an object or list that is longer than a piece: more than any list of a request may have, vectors included."""
_MOST_LEVELS = 5
"""Nested objects and lists that are longer than a piece: body, `queries`, one of them, `vectors`, one of them."""
_MOST_VALUES = 2_000_000
"""Values of a document: each takes up to 60 bytes of memory once it is read."""
_NUMBER = 4400
"""Bounds the characters of a number that stands alone, or of `true`, `false` and `null`."""
_SPACE = re.compile(r"[ \t\n\r]*")
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
"""How a surrogate is written. Two in a row are a character; one alone is none."""
_DEEP = "is nested too deeply"


def read_json(content: bytes, field: str = "body") -> Any:
    """What `content` is. Raises `InvalidArgument`, naming `field` or what is within it, for what is not JSON or too much."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(field, f"is not UTF-8: {error.reason} at byte {error.start}") from None
    _check_values(text, field)
    reader = _Reader(text, field)
    root = "" if field == "body" else field
    value, end = reader.value(reader.past_space(0), root, 0)
    if (end := reader.past_space(end)) != len(text):
        reader.fail("there is more after its end", end)
    if _has_half_pairs(text):
        _check_characters(value, root, field)
    return value


def json_pieces(document: Mapping[str, Any]) -> Iterator[bytes]:
    """`document` as JSON; an item of each of its lists is written in one go."""
    separator = "{"
    for name, value in document.items():
        yield f"{separator}{_written(name)}:".encode()
        separator = ","
        if isinstance(value, list):
            before = "["
            for item in value:
                yield before.encode() + _written(item).encode()
                before = ","
            yield b"]" if value else b"[]"
        else:
            yield _written(value).encode()
    yield b"}" if document else b"{}"


def printable(text: str) -> str:
    """`text` with what UTF-8 has no bytes for written as an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class _Reader:
    """A document. A `path` is that of the value that is read, "" for the document itself."""

    def __init__(self, text: str, field: str) -> None:
        self._text, self._field = text, field

    def value(self, position: int, path: str, level: int) -> tuple[Any, int]:
        """The value at `position`, and where it ends."""
        first = self._text[position : position + 1]
        if first == '"':
            return self._string(position)
        if first not in ("{", "["):
            return self._whole(position, min(position + _NUMBER, len(self._text)), path)
        end = min(position + PIECE, len(self._text))
        if end == len(self._text):
            return self._whole(position, end, path)
        try:
            return self._whole(position, end, path)
        except InvalidArgument:
            if level >= _MOST_LEVELS:
                raise
        return self._object(position, path, level) if first == "{" else self._list(position, path, level)

    def past_space(self, position: int) -> int:
        return _SPACE.match(self._text, position).end()  # type: ignore[union-attr]  # it matches nothing at all, too

    def fail(self, problem: str, position: int) -> NoReturn:
        raise InvalidArgument(self._field, f"is not JSON: {problem[:1].lower()}{problem[1:]} at character {position}")

    def _whole(self, position: int, end: int, path: str) -> tuple[Any, int]:
        """The value at `position`, which ends at `end` or before."""
        piece = self._text[position:end]
        try:
            value, length = read_json_part(piece)
        except json.JSONDecodeError as error:
            self.fail(error.msg, position + error.pos)
        except RecursionError:
            raise InvalidArgument(path or self._field, _DEEP) from None
        return value, position + length

    def _string(self, position: int) -> tuple[str, int]:
        end = self._text.find('"', position + 1)
        if end - position > PIECE and self._text.find("\\", position, end) < 0:
            return self._text[position + 1 : end], end + 1  # a picture, usually
        try:
            return cast(tuple[str, int], scanstring(self._text, position + 1, True))
        except json.JSONDecodeError as error:
            self.fail(error.msg, error.pos)

    def _object(self, position: int, path: str, level: int) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        for start in self._members(position, "}", path):
            if self._text[start : start + 1] != '"':
                self.fail("expecting property name enclosed in double quotes", start)
            name, end = self._string(start)
            end = self.past_space(end)
            if self._text[end : end + 1] != ":":
                self.fail("expecting ':' delimiter", end)
            inner = f"{path}.{name[:40]}" if path else name[:40]
            members[name], self._end = self.value(self.past_space(end + 1), inner, level + 1)
        return members, self._end

    def _list(self, position: int, path: str, level: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        for start in self._members(position, "]", path):
            item, self._end = self.value(start, f"{path}[{len(items)}]", level + 1)
            items.append(item)
        return items, self._end

    def _members(self, position: int, closing: str, path: str) -> Iterator[int]:
        """Where each member of the object or list at `position` begins. The caller leaves in `_end` where it ended; in the end
        that is where all of it does."""
        start = self.past_space(position + 1)
        if self._text[start : start + 1] == closing:
            self._end = start + 1
            return
        for _ in range(_MOST_MEMBERS):
            yield start
            end = self.past_space(self._end)
            mark = self._text[end : end + 1]
            if mark == closing:
                self._end = end + 1
                return
            if mark != ",":
                self.fail("expecting ',' delimiter", end)
            start = self.past_space(end + 1)
        raise InvalidArgument(printable(path) or self._field, f"holds more than {_MOST_MEMBERS:,} values")


def _check_values(text: str, field: str) -> None:
    values = 0
    for start in range(0, len(text), PIECE):
        values += sum(text.count(mark, start, start + PIECE) for mark in ",[{")
        if values > _MOST_VALUES:
            raise InvalidArgument(field, f"holds more than {_MOST_VALUES:,} values; send it in several, or by gRPC")


def _has_half_pairs(text: str) -> bool:
    return any(_HALF_PAIR.search(text, start, start + PIECE + 4) for start in range(0, len(text), PIECE))


def _check_characters(value: object, path: str, field: str) -> None:
    """Raise `InvalidArgument` by its path for text that no UTF-8 can hold."""
    if isinstance(value, str):
        if printable(value) != value:
            raise InvalidArgument(path or field, "holds text that is not Unicode (a lone surrogate)")
    elif isinstance(value, dict):
        for name, inner in value.items():
            here = f"{path}.{printable(name[:40])}" if path else printable(name[:40])
            _check_characters(name, here, field)
            _check_characters(inner, here, field)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_characters(inner, f"{path}[{index}]", field)
