"""Where vectors live: the only package that imports pymilvus.

`connection` speaks to the server and translates its errors, `schema` says what a row is, `catalogue` says what collections
exist, `filters` compiles the filter language, `vectors` reads and writes images, `lite` starts milvus-lite's server.
The gateway and the indexer call it; everything in it is synchronous and may be called from several threads.
"""
