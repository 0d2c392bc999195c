"""The whole system on one machine: Redis, Milvus, embedder, indexer and gateway as children of one process, with all data in
one folder. `lookalike.local.system.LocalSystem` is the entry; this package's own import costs nothing, because every child
passes through it."""
