"""Uploads of clients: originals by content, and the list of items, which exists only for a complete upload.

The gateway calls it while a stream comes in, and the plan when a job works the upload off. Memory does not grow with the
upload. Originals of a stream that broke off are in no list; `indexer.sweeping` removes them, and old lists, after a day.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime

from lookalike.artifacts import UNUSED_KEPT_S, Artifacts, translated
from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.items import Item, broken_item, checked_item
from lookalike.names import MAX_IMAGE_BYTES, check_name, id_from_content
from lookalike.records.source import Upload, UploadItem

UPLOADS = "uploads"
_LIST = "items.jsonl"
CLIENT_PROBLEM = "CLIENT_PROBLEM"
"""Reason of an item that the client could not read; the message is the client's."""
_ID = re.compile(r"[0-9a-f]{16}")
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class Uploads:
    """The uploads in the artifacts. Thread-safe; a single `UploadWriter` is for one thread at a time."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def begin(self, collection: str) -> UploadWriter:
        """Open an upload meant for `collection` (its existence is the caller's to check)."""
        return UploadWriter(self._artifacts, check_name("header.collection", collection))

    def check(self, upload_id: str) -> str:
        """The collection of a complete upload. Raises `NotFound` ("upload") where there is no such upload."""
        return str(self._header(upload_id)["collection"])

    def items(self, upload_id: str) -> Iterator[Item]:
        """The items of a complete upload in the order of their arrival. Raises `NotFound` ("upload")."""
        self._header(upload_id)
        with self._artifacts.open_read(_path(upload_id)) as stream:
            stream.readline()
            for line in stream:
                yield Item(**json.loads(line))

    def collection_of(self, upload_id: str) -> str | None:
        """The collection of an upload; None where its list does not exist (yet)."""
        try:
            return self.check(upload_id)
        except (NotFound, InvalidArgument):
            return None

    def finished_at(self, upload_id: str) -> datetime | None:
        """The time at which an upload was complete; None where it is not."""
        entries = self._artifacts.entries(f"{UPLOADS}/{upload_id}")
        return next((entry.modified for entry in entries if entry.name == _LIST), None)

    def delete(self, upload_id: str) -> None:
        """Delete the list of an upload, if it exists; its originals stay."""
        self._artifacts.delete_tree(f"{UPLOADS}/{upload_id}")

    def _header(self, upload_id: str) -> Mapping[str, object]:
        if not _ID.fullmatch(upload_id):
            raise NotFound("upload", upload_id[:64], field="source.upload.upload_id")
        try:
            with self._artifacts.open_read(_path(upload_id)) as stream:
                header: Mapping[str, object] = json.loads(stream.readline())
        except NotFound as error:
            raise NotFound("upload", upload_id, field="source.upload.upload_id") from error
        return header


class UploadWriter:
    """An upload under way. End it with `finish` or `abort`; an upload that ends otherwise has no list."""

    def __init__(self, artifacts: Artifacts, collection: str) -> None:
        self._artifacts = artifacts
        self.id = secrets.token_hex(8)
        self._list = artifacts.open_write(_path(self.id))
        self._items = 0
        self._size_bytes = 0
        self._until_s = time.monotonic() + UNUSED_KEPT_S
        try:
            self._write({"collection": collection})
        except BaseException:
            self.abort()
            raise

    def add(self, given: UploadItem) -> None:
        """Take one item: its bytes, or the URI at which workers find it, or the problem for which the client could not read it.

        An item whose id, URI or metadata cannot be stored, or whose content is over 20 MB, is kept as a failed item. Raises
        `InvalidArgument` for an item with neither content nor URI nor problem, `Unavailable`.
        """
        if given.problem:
            reason = given.problem_reason if _REASON.fullmatch(given.problem_reason) else CLIENT_PROBLEM
            item = broken_item(self._items, given.problem, uri=given.uri, item_id=given.id, reason=reason)
        elif given.content and isinstance(given.content, bytes):
            item = self._with_content(given.id, given.uri, given.metadata, given.content)
        elif given.uri:
            item = checked_item(self._items, given.id, given.uri, given.metadata)
        else:
            raise InvalidArgument("item", f"number {self._items} has neither content nor URI nor problem")
        self._write(asdict(item))
        self._items += 1

    def finish(self) -> Upload:
        """Make the upload usable.

        Raises `FailedPrecondition` UPLOAD_TOO_LONG where it took more than a day: its first originals may be gone.
        """
        if time.monotonic() > self._until_s:
            raise FailedPrecondition("an upload may take a day at most; send what is left as another", reason="UPLOAD_TOO_LONG")
        self._artifacts.settle()
        self._list.commit()
        return Upload(self.id, self._items, self._size_bytes)

    def abort(self) -> None:
        """Drop the upload. May be called after anything."""
        self._list.discard()

    def _with_content(self, item_id: str, uri: str, metadata: Mapping[str, object], content: bytes) -> Item:
        if len(content) > MAX_IMAGE_BYTES:
            problem = f"is {len(content)} bytes long; at most {MAX_IMAGE_BYTES} are allowed"
            return broken_item(self._items, problem, uri=uri, item_id=item_id, reason="IMAGE_TOO_LARGE")
        self._size_bytes += len(content)
        item = checked_item(self._items, item_id or ("" if uri else id_from_content(content)), uri, metadata)
        if item.problem:
            return item
        return replace(item, uri=self._artifacts.keep_original(content), origin=uri)

    def _write(self, fields: Mapping[str, object]) -> None:
        with translated(_path(self.id)):
            self._list.stream.write(json.dumps(fields, ensure_ascii=False).encode() + b"\n")


def _path(upload_id: str) -> str:
    return f"{UPLOADS}/{upload_id}/{_LIST}"
