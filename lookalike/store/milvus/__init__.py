"""The store on Milvus: the only package that imports pymilvus.

`connection` calls the server and translates its errors, `schema` defines a row, `catalogue` keeps the collections that exist,
and `vectors` reads and writes images.
"""
