"""The store of vectors. The gateway and the indexer call it, from several threads; every call blocks.

`protocols` says what a store offers to readers, `writable` what it offers to the one writer; `milvus/` offers both. `checks`
refuses what cannot be stored, `generations` says what a re-embedding makes of a collection.
"""
