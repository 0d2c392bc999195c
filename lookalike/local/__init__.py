"""The whole system on one machine: Redis, Milvus, embedder, indexer and gateway as children of one process, with all data in
one folder. `lookalike.local.system.LocalSystem` is the entry. The import of this package costs nothing, because every child
imports it."""
