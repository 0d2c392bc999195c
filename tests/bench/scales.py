"""How much a run measures: the whole bench, and the quick one. Read by every group of rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """`vectors`: rows of each collection in Milvus. `rounds` of `window_s` seconds for rates; `starts` of processes;
    `overloads`; `lone_queries` one after the other, and `recall_queries`; `jobs` that fill a collection."""

    vectors: int
    rounds: int
    window_s: float
    starts: int
    overloads: int
    lone_queries: int
    recall_queries: int
    jobs: int


FULL = Scale(vectors=100_000, rounds=9, window_s=5.0, starts=5, overloads=5, lone_queries=400, recall_queries=1000, jobs=5)
QUICK = Scale(vectors=20_000, rounds=5, window_s=1.5, starts=3, overloads=3, lone_queries=100, recall_queries=200, jobs=1)
