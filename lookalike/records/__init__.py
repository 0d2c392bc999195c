"""Frozen values that services and callers share, free of protobuf, Milvus and Redis."""
