"""A store in memory, for tests: `MemoryVectors` and `MemoryCatalogue` over one `Tables`. Exact, and gone with its process.
Held to the same contract tests as Milvus (tests/contract/test_store*.py).
"""
