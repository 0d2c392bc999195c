"""Milvus, as the gateway sees it: not there until reached, then `Vectors`, a `Catalogue` and the writer of both.

The gateway starts before Milvus answers, so that `/readyz` and the health service can say what is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from lookalike.errors import NotFound, Unavailable
from lookalike.jobs.ledger import Ledger
from lookalike.records.collection import Collection
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import Connection
from lookalike.store.milvus.vectors import MilvusVectors
from lookalike.store.protocols import Catalogue, Vectors
from lookalike.writes import Writes

T = TypeVar("T")


class Backends:
    """Holds what speaks to Milvus. `check` connects; everything else raises `Unavailable` until then."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._vectors: MilvusVectors | None = None
        self._catalogue: MilvusCatalogue | None = None

    @property
    def vectors(self) -> Vectors:
        return _reached(self._vectors)

    @property
    def catalogue(self) -> Catalogue:
        return _reached(self._catalogue)

    def writes(self, ledger: Ledger) -> Writes:
        """The writer of collections and their images."""
        return Writes(ledger, _reached(self._catalogue), _reached(self._vectors))

    def check(self, timeout_s: float) -> None:
        """Connect, or see whether the connection still answers. Blocks. Raises `Unavailable`."""
        with self._lock:
            if self._connection is None:
                connection = self._connect()
                self._catalogue, self._vectors = MilvusCatalogue(connection), MilvusVectors(connection)
                self._connection = connection
        self._connection.ping(timeout_s)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()


def _reached(part: T | None) -> T:
    if part is None:
        raise Unavailable("milvus", "it has not been reached yet")
    return part


def find_collection(backends: Backends, name: str, *, field: str = "collection", fresh: bool = False) -> Collection:
    """The collection that `field` of a request names. Blocks. Raises `NotFound` for that field."""
    try:
        return backends.catalogue.get(name, fresh=fresh)
    except NotFound as error:
        raise NotFound("collection", name, field=field) from error
