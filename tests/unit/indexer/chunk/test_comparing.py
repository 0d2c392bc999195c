"""What is read against what is stored: one value for each item, in order, without reading ahead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from indexer.chunk.comparing import compare
from indexer.chunk.items import Chunk, Failed, Fetched, Indexed, Skipped, ToWrite
from lookalike.errors import LookalikeError, NotFound
from lookalike.items import Item
from lookalike.records.image import StoredImage
from tests.unit.indexer.fakes import a_collection

OURS, EARLIER = 7, 3
ITEM = Item(0, "a", "file:///a.png", {"label": "Coat", "n": 7})


class AJob:
    revision = OURS


CHUNK = Chunk(cast("Any", AJob()), a_collection(), [ITEM], cast("Any", None), cast("Any", None))


def row(content: bytes = b"coat", revision: int = EARLIER, **metadata: object) -> StoredImage:
    sha256 = hashlib.sha256(content).hexdigest()
    return StoredImage("a", "file:///a.png", metadata or {"label": "Coat", "n": 7}, sha256, revision, datetime.now(UTC), {})


SHA256 = row().sha256
FETCHED, KEEPS_VECTORS = Fetched(ITEM, b"coat", SHA256), ToWrite(ITEM, SHA256, {})


@pytest.mark.parametrize(
    ("rows", "may_skip", "result"),
    [
        ([], True, FETCHED),
        ([row(), row(b"hat")], True, FETCHED),
        ([row()], True, FETCHED),
        ([row(), row()], True, Skipped(ITEM, "unchanged")),
        ([row(), row()], False, KEEPS_VECTORS),
        ([row(), row(label="Hat")], True, KEEPS_VECTORS),
        ([row(label="Coat", n=7.0)] * 2, True, KEEPS_VECTORS),
        ([row(near_duplicate_of="b", label="Coat", n=7)] * 2, True, Skipped(ITEM, "unchanged")),
        ([row(revision=OURS)] * 2, True, Indexed(ITEM)),
        ([row(revision=OURS), row()], True, Skipped(ITEM, "unchanged")),
    ],
    ids=[
        "new",
        "one space has other bytes",
        "one space has none",
        "unchanged",
        "unchanged, but an older job may write over it",
        "other metadata",
        "a number of another kind",
        "with a link that a job has added",
        "written by a worker of this job that died",
        "written in part by a worker of this job that died",
    ],
)
def test_the_store_decides_whether_an_item_is_embedded_written_or_done(
    rows: Sequence[StoredImage], may_skip: bool, result: object
) -> None:
    stored: Mapping[str, Sequence[StoredImage]] = {"a": rows} if rows else {}
    assert list(compare(CHUNK, [(ITEM, b"coat")], stored, may_skip=may_skip)) == [result]


def test_what_cannot_be_read_fails_in_its_place_and_nothing_is_read_ahead() -> None:
    read: list[str] = []

    def contents() -> Iterator[tuple[Item, bytes | LookalikeError]]:
        for name, content in (("a", b"coat"), ("b", NotFound("source", "b")), ("c", b"hat")):
            read.append(name)
            yield Item(0, name, name), content

    compared = compare(CHUNK, contents(), {}, may_skip=True)
    assert isinstance(next(compared), Fetched)
    assert read == ["a"]
    failure, third = compared
    assert isinstance(failure, Failed)
    assert (failure.item.id, failure.reason) == ("b", "SOURCE_NOT_FOUND")
    assert isinstance(third, Fetched)
