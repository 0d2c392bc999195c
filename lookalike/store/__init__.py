"""Where vectors live. The gateway and the indexer call it, from several threads; every call blocks.

`milvus/` speaks to Milvus, `filters` compiles the filter language, `generations` says what a re-embedding makes of a
collection.
"""
