"""The store on Milvus: the only package that imports pymilvus.

`connection` speaks to the server and translates its errors, `schema` says what a row is, `catalogue` says what collections
exist, `vectors` reads and writes images.
"""
