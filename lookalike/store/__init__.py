"""Where vectors live. The gateway and the indexer call it, from several threads; every call blocks.

`protocols` says what a store offers, `milvus/` offers it. `checks` refuses what cannot be stored, `generations` says what a
re-embedding makes of a collection.
"""
