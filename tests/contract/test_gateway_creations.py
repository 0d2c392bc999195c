"""Two gateways that make and remove one collection at once, on a real Redis and a real server of vectors."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

import numpy as np
import pytest

from gateway.backends.threads import Threads
from gateway.collections.collections import Collections, NewCollection
from lookalike.errors import AlreadyExists
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.records.collection import Collection
from lookalike.runtime.call import Call, Deadline
from lookalike.spaces import HistogramSettings, ModelSettings, SpaceSpec
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import Connection, connect
from lookalike.store.milvus.vectors import MilvusVectors
from tests.contract.store_samples import image
from tests.unit.gateway.fakes import BackendsOf, FakeEmbedder


@pytest.fixture
def connections(milvus_lite_uri: str) -> Iterator[list[Connection]]:
    opened = [connect(milvus_lite_uri) for _ in range(2)]
    yield opened
    for connection in opened:
        connection.close()


@pytest.fixture
def ledgers(redis_db: str) -> Iterator[list[Ledger]]:
    opened = [connect_ledger(redis_db) for _ in range(2)]
    yield opened
    for ledger in opened:
        ledger.close()


def test_of_two_gateways_that_make_one_name_at_once_one_succeeds_and_keeps_its_settings(
    connections: list[Connection], ledgers: list[Ledger]
) -> None:
    name = f"test_{secrets.token_hex(6)}"
    siamese = SpaceSpec("siamese", ModelSettings())
    news = [NewCollection(name, spaces=(SpaceSpec("histogram", HistogramSettings(bins)), siamese)) for bins in (8, 16)]
    gateways = [
        Collections(BackendsOf(MilvusVectors(connection), MilvusCatalogue(connection)), ledger, FakeEmbedder(), Threads(2, 2))
        for connection, ledger in zip(connections, ledgers, strict=True)
    ]

    async def both() -> list[object]:
        calls = [one.create(new, Call(Deadline.after(60.0))) for one, new in zip(gateways, news, strict=True)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(both())
    made = [answer for answer in answers if isinstance(answer, Collection)]
    assert {type(answer) for answer in answers} == {Collection, AlreadyExists}, answers
    catalogue, store = MilvusCatalogue(connections[0]), MilvusVectors(connections[0])
    assert catalogue.get(name, fresh=True) == made[0]
    one = image("a", histogram=np.full(made[0].spaces[0].dimension, 1 / made[0].spaces[0].dimension, np.float32))
    store.upsert(made[0], [one])
    assert store.count(made[0], timeout_s=20.0) == 1
    catalogue.delete(name)
