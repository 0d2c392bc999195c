"""A store in memory, for tests: `MemoryVectors` and `MemoryCatalogue` over one `Tables`. It searches exactly, ends with its
process, and passes the same contract tests as Milvus (tests/contract/test_store*.py).
"""
