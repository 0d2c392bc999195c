"""Milvus, as the gateway sees it: not there until reached, then `Vectors` and a `Catalogue`.

The gateway starts before Milvus answers, so that `/readyz` and the health service can say what is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from lookalike.errors import NotFound, Unavailable
from lookalike.jobs.ledger import Ledger
from lookalike.records.collection import Collection
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import Connection
from lookalike.store.milvus.vectors import MilvusVectors
from lookalike.store.protocols import Catalogue, Vectors
from lookalike.writes import Writes


class Backends:
    """Holds what speaks to Milvus. `check` connects; everything else raises `Unavailable` until it has."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._vectors: Vectors | None = None
        self._catalogue: Catalogue | None = None

    @property
    def vectors(self) -> Vectors:
        if self._vectors is None:
            raise Unavailable("milvus", "it has not been reached yet")
        return self._vectors

    @property
    def catalogue(self) -> Catalogue:
        if self._catalogue is None:
            raise Unavailable("milvus", "it has not been reached yet")
        return self._catalogue

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


def writes_to(backends: Backends, ledger: Ledger) -> Writes:
    """What changes collections and their images. Raises `Unavailable` until Milvus has been reached."""
    return Writes(ledger, backends.catalogue, backends.vectors)


def find_collection(backends: Backends, name: str, *, field: str = "collection", fresh: bool = False) -> Collection:
    """The collection that `field` of a request names. Blocks. Raises `NotFound` for that field."""
    try:
        return backends.catalogue.get(name, fresh=fresh)
    except NotFound as error:
        raise NotFound("collection", name, field=field) from error
